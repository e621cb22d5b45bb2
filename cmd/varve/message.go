package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/units"
)

func messageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "message", Short: "Send, find and read messages"}
	cmd.AddCommand(messageSend(), messageGet(), messageFind(), messageRead())
	return cmd
}

// delayProperty is how a message says how long it wants to be held back.
const delayProperty = "TIMER_DELAY_MS"

func messageSend() *cobra.Command {
	var (
		m     admin.Outgoing
		props []string
		queue int32
		lines bool
		in    string
	)
	cmd := &cobra.Command{
		Use: "send TOPIC [BODY]", Short: "Send a message; the body is standard input where it isn't given",
		Long: "Send a message. Without BODY, standard input is the body; with --lines every line of it is a message of its own.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m.Topic, m.Properties = args[0], map[string]string{}
			for _, p := range props {
				k, v, ok := strings.Cut(p, "=")
				if !ok {
					return usageError{fmt.Errorf("--property %q is not name=value", p)}
				}
				m.Properties[k] = v
			}
			if cmd.Flags().Changed("queue") {
				if queue < 0 {
					return usageError{fmt.Errorf("--queue: %d is less than 0", queue)}
				}
				m.Queue = &queue
			}
			if in != "" {
				d, err := units.ParseDuration(in)
				if err != nil {
					return usageError{fmt.Errorf("--in: %w", err)}
				}
				m.Properties[delayProperty] = strconv.FormatInt(time.Duration(d).Milliseconds(), 10)
			}
			if lines && len(args) == 2 {
				return usageError{errors.New("--lines: the messages are the lines of standard input; leave BODY out")}
			}
			if lines {
				return sendLines(cmd, m)
			}
			body := []byte(strings.Join(args[1:], ""))
			if len(args) == 1 {
				var err error
				if body, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), 5<<20)); err != nil {
					return fmt.Errorf("read the body from standard input: %w", err)
				}
			}
			sent, err := client(cmd).SendMessage(cmd.Context(), withBody(m, body))
			if err != nil {
				return err
			}
			return show(cmd, sent, func(t *table) {
				t.row("MESSAGE ID", "BROKER", "QUEUE", "OFFSET")
				t.row(sent.MsgID, sent.Broker, sent.Queue, sent.Offset)
			})
		},
	}
	cmd.Flags().StringVar(&m.Tag, "tag", "", "tag")
	cmd.Flags().StringArrayVar(&m.Keys, "key", nil, "key; may be given again")
	cmd.Flags().StringArrayVar(&props, "property", nil, "name=value; may be given again")
	cmd.Flags().Int32Var(&queue, "queue", 0, "queue; the broker picks where it isn't given")
	cmd.Flags().StringVar(&in, "in", "", "hold it back for so long, such as 90s or 30d")
	cmd.Flags().BoolVar(&lines, "lines", false, "every line of standard input is a message")
	return cmd
}

func withBody(m admin.Outgoing, body []byte) admin.Outgoing {
	if utf8.Valid(body) {
		m.Body = string(body)
	} else {
		m.BodyBase64 = base64.StdEncoding.EncodeToString(body)
	}
	return m
}

func sendLines(cmd *cobra.Command, m admin.Outgoing) error {
	in := bufio.NewScanner(cmd.InOrStdin())
	in.Buffer(nil, 4<<20)
	n, c := 0, client(cmd)
	for in.Scan() {
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		if _, err := c.SendMessage(cmd.Context(), withBody(m, in.Bytes())); err != nil {
			return fmt.Errorf("after %d messages: %w", n, err)
		}
		n++
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read line %d of standard input: %w", n+1, err)
	}
	return show(cmd, map[string]int{"sent": n}, func(t *table) { t.row(fmt.Sprintf("sent %d messages to %s", n, m.Topic)) })
}

func messageGet() *cobra.Command {
	topic := ""
	cmd := &cobra.Command{
		Use: "get ID", Short: "Show one message by its id, hot or archived", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := client(cmd).MessageByID(cmd.Context(), topic, args[0])
			if err != nil {
				return err
			}
			return show(cmd, m, func(t *table) { messageDetail(t, m) })
		},
	}
	cmd.Flags().StringVar(&topic, "topic", "", "topic; needed where ID is a client's message id")
	return cmd
}

// mostMessages is the help of --max: the server gives no more at once.
var mostMessages = fmt.Sprintf("most messages, up to %d", admin.MaxPage)

func messageFind() *cobra.Command {
	s := admin.KeySearch{}
	var from, to string
	cmd := &cobra.Command{
		Use: "find TOPIC KEY", Short: "Find messages by key, newest first", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.Topic, s.Key = args[0], args[1]
			if s.Max < 1 {
				return usageError{fmt.Errorf("--max: %d is less than 1", s.Max)}
			}
			var err error
			if s.From, err = timeFlag("from", from); err != nil {
				return err
			}
			if s.To, err = timeFlag("to", to); err != nil {
				return err
			}
			found, err := client(cmd).MessagesByKey(cmd.Context(), s)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return admin.NotFound("topic %q has no message with key %q there", s.Topic, s.Key)
			}
			return show(cmd, found, func(t *table) { messageRows(t, found) })
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "stored at or after this time")
	cmd.Flags().StringVar(&to, "to", "", "stored at or before this time")
	cmd.Flags().IntVar(&s.Max, "max", 32, mostMessages)
	return cmd
}

func messageRead() *cobra.Command {
	s := admin.Stretch{}
	from := ""
	cmd := &cobra.Command{
		Use: "read TOPIC", Short: "Read a topic or one queue from a time or an offset on, across hot and archive", Args: cobra.ExactArgs(1),
		Long: `Read messages, the oldest first, whether they are hot or archived. Without
--queue the topic's queues are merged by store time; an --offset needs a --queue.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.Topic = args[0]
			if s.Max < 1 {
				return usageError{fmt.Errorf("--max: %d is less than 1", s.Max)}
			}
			var err error
			if s.From, err = timeFlag("from", from); err != nil {
				return err
			}
			if cmd.Flags().Changed("offset") && s.Offset < 0 {
				return usageError{fmt.Errorf("--offset: %d is less than 0", s.Offset)}
			}
			if !cmd.Flags().Changed("queue") {
				if s.Offset >= 0 {
					return usageError{fmt.Errorf("--offset: an offset is of one queue: give --queue as well")}
				}
				return readTopic(cmd, s)
			}
			page, err := client(cmd).ReadMessages(cmd.Context(), s)
			if err != nil {
				return err
			}
			return show(cmd, page, func(t *table) {
				messageRows(t, page.Messages)
				t.row(fmt.Sprintf("queue %d has offsets %d to %d; read on with --offset %d", s.Queue, page.Min, page.Max, page.Next))
			})
		},
	}
	cmd.Flags().Int32Var(&s.Queue, "queue", 0, "queue; all of them, merged by store time, where it isn't given")
	cmd.Flags().StringVar(&s.Broker, "broker", "", "broker group; the server's own where empty")
	cmd.Flags().Int64Var(&s.Offset, "offset", -1, "first offset")
	cmd.Flags().StringVar(&from, "from", "", "first store time, where no offset is given")
	cmd.Flags().StringVar(&s.Tags, "tags", "", `tags, such as "paid || shipped"`)
	cmd.Flags().StringVar(&s.SQL, "where", "", `property expression, such as "amount > 10"`)
	cmd.Flags().IntVar(&s.Max, "max", 32, mostMessages)
	return cmd
}

// readTopic shows the first messages of all queues of a topic by store time.
func readTopic(cmd *cobra.Command, s admin.Stretch) error {
	c := client(cmd)
	topic, err := c.Topic(cmd.Context(), s.Topic)
	if err != nil {
		return err
	}
	all := []admin.Message{}
	queues := slices.DeleteFunc(topic.Detail, func(q admin.Queue) bool { return s.Broker != "" && s.Broker != q.Broker })
	if len(queues) == 0 {
		return admin.NotFound("topic %q has no queue of a broker group %q here; with --queue its archive is read", s.Topic, s.Broker)
	}
	for _, q := range queues {
		if q.Min == q.Max {
			continue
		}
		of := s
		of.Broker, of.Queue = q.Broker, q.ID
		list, err := readQueue(cmd.Context(), c, of)
		if err != nil {
			return err
		}
		all = append(all, list...)
		slices.SortStableFunc(all, func(a, b admin.Message) int { return a.StoreTime.Compare(b.StoreTime) })
		all = all[:min(len(all), s.Max)]
	}
	return show(cmd, map[string]any{"messages": all}, func(t *table) {
		messageRows(t, all)
		if len(all) == s.Max {
			t.row(fmt.Sprintf("the first %d; more with --max, later ones with --from %s", len(all), all[len(all)-1].StoreTime.UTC().Format(time.RFC3339Nano)))
		}
	})
}

// readQueue reads until it has s.Max messages or the queue's end: one answer
// of the server may stop short of both.
func readQueue(ctx context.Context, c *admin.Client, s admin.Stretch) ([]admin.Message, error) {
	var out []admin.Message
	want := s.Max
	for {
		s.Max = want - len(out)
		p, err := c.ReadMessages(ctx, s)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Messages...)
		if len(out) >= want || p.Next >= p.Max || p.Next == s.Offset {
			return out, nil
		}
		s.Offset = p.Next
	}
}

func timeFlag(name, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	t, err := admin.ParseTime(value, time.Now())
	if err != nil {
		return t, usageError{fmt.Errorf("--%s: %w", name, err)}
	}
	return t, nil
}

func messageRows(t *table, list []admin.Message) {
	t.row("QUEUE", "OFFSET", "STORED", "TAG", "KEYS", "MESSAGE ID", "BODY")
	for _, m := range list {
		t.row(m.Queue, m.Offset, m.StoreTime, dash(m.Tag), dash(strings.Join(m.Keys, " ")), m.MsgID, brief(m))
	}
}

// brief is a body in one short cell.
func brief(m admin.Message) string {
	const most = 60
	if m.BodyBase64 != "" {
		return fmt.Sprintf("(%d bytes)", m.BodyBytes)
	}
	s := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, m.Body)
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func messageDetail(t *table, m admin.Message) {
	t.row("topic", m.Topic)
	t.row("queue", fmt.Sprintf("%s/%d", m.Broker, m.Queue))
	t.row("offset", m.Offset)
	t.row("message id", m.MsgID)
	t.row("offset message id", m.OffsetMsgID)
	t.row("tag", dash(m.Tag))
	t.row("keys", dash(strings.Join(m.Keys, " ")))
	t.row("stored", m.StoreTime)
	t.row("born", clock(m.BornTime)+" at "+m.BornHost)
	t.row("consumed again", m.ReconsumeTimes)
	for k, v := range m.Properties {
		t.row("property "+k, v)
	}
	if m.BodyBase64 != "" {
		t.row("body (base64)", m.BodyBase64)
		return
	}
	t.row("body", m.Body)
}
