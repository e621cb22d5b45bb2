package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"varve/internal/archive/audit"
	"varve/internal/mq"
	"varve/internal/proof"
)

func archiveProve() *cobra.Command {
	var out, rows string
	var queue int32
	var from, to int64
	var records bool
	cmd := &cobra.Command{
		Use: "prove TOPIC", Short: "Prove some messages against the signed head: a digest, and a file that proves it without the archive",
		Long: `Make a proof of a range of one queue (--queue, --from, --to), or of the rows of a
query: --rows takes the CSV of varve sql with the columns queue_id and
queue_offset, and broker where there are several. Needs the bucket alone, as
verify does. check-proof checks the file with nothing but the public key.`,
		Args: cobra.ExactArgs(1),
	}
	configFlags(cmd)
	cmd.Flags().Int32Var(&queue, "queue", 0, "queue of the range")
	cmd.Flags().Int64Var(&from, "from", 0, "first offset")
	cmd.Flags().Int64Var(&to, "to", 0, "offset behind the last")
	cmd.Flags().StringVar(&rows, "rows", "", "CSV of a query's rows instead of a range; - is standard input")
	cmd.Flags().StringVar(&out, "out", "", "file to make")
	cmd.Flags().BoolVar(&records, "records", false, "put the messages themselves into the file too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if out == "" {
			return usageError{errors.New("--out names no file")}
		}
		l, err := loadConfig(cmd)
		if err != nil {
			return err
		}
		offsets := map[int32][]mq.Range{queue: {{From: from, To: to}}}
		if rows != "" {
			if offsets, err = readOffsets(cmd, rows, l.Config.Broker.Name); err != nil {
				return usageError{fmt.Errorf("--rows: %w", err)}
			}
		} else if to <= from {
			return usageError{fmt.Errorf("--from %d --to %d: no offset is in it", from, to)}
		}
		a, err := openToRead(cmd)
		if err != nil {
			return err
		}
		s, err := audit.Prove(cmd.Context(), a, args[0], l.Config.Broker.Name, offsets, records)
		if err != nil {
			return err
		}
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if err := createFile(out, data, 0o644); err != nil {
			return err
		}
		return show(cmd, map[string]any{"digest": s.Digest, "messages": s.Messages, "file": out}, func(t *table) {
			t.row("digest", s.Digest)
			t.row("messages", s.Messages)
			t.row("proof", out)
		})
	}
	return cmd
}

// readOffsets reads queue and offset of each row of a CSV with a header.
func readOffsets(cmd *cobra.Command, name, broker string) (map[int32][]mq.Range, error) {
	in := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	r := csv.NewReader(in)
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: its header: %w", name, err)
	}
	at := map[string]int{}
	for i, h := range header {
		at[h] = i
	}
	queueAt, ok1 := at["queue_id"]
	offsetAt, ok2 := at["queue_offset"]
	brokerAt, named := at["broker"]
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("%s: no columns queue_id and queue_offset", name)
	}
	out := map[int32][]mq.Range{}
	for line := 2; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if named && row[brokerAt] != broker {
			return nil, fmt.Errorf("%s, line %d: broker group %s; a proof is of one, broker.name says %s", name, line, row[brokerAt], broker)
		}
		queue, qerr := strconv.ParseInt(row[queueAt], 10, 32)
		offset, oerr := strconv.ParseInt(row[offsetAt], 10, 64)
		if qerr != nil || oerr != nil {
			return nil, fmt.Errorf("%s, line %d: queue_id %q, queue_offset %q: want two whole numbers", name, line, row[queueAt], row[offsetAt])
		}
		list := out[int32(queue)]
		if n := len(list); n > 0 && list[n-1].To == offset {
			list[n-1].To++
		} else {
			out[int32(queue)] = append(list, mq.Range{From: offset, To: offset + 1})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no rows", name)
	}
	return out, nil
}

func archiveCheckProof() *cobra.Command {
	keyFile := ""
	cmd := &cobra.Command{
		Use: "check-proof FILE", Short: "Check a proof that prove made, with the public key alone",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&keyFile, "public-key", "", "PEM file of the public key, or of all that were in use")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		keys, err := publicKeys(keyFile)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return usageError{errors.New("--public-key names no file")}
		}
		text, err := os.ReadFile(args[0])
		s := new(proof.Selection)
		if err == nil {
			err = json.Unmarshal(text, s)
		}
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", args[0], err)}
		}
		checked, err := s.Check(keys, audit.RecordParts)
		if err != nil {
			return fmt.Errorf("%s proves nothing: %w", args[0], err)
		}
		return show(cmd, map[string]any{
			"proven": true, "digest": s.Digest, "messages": s.Messages, "records": checked.Records, "signed_by": checked.Key, "head": s.Head,
		}, func(t *table) {
			t.row("digest", s.Digest)
			t.row("messages", fmt.Sprintf("%d of topic %s on %s", s.Messages, s.Head.Topic, s.Head.Broker))
			t.row("records", fmt.Sprintf("%d of them are in the file and are what was proven", checked.Records))
			for _, q := range s.Selection {
				for _, r := range q.Offsets {
					t.row("", fmt.Sprintf("queue %d, offsets %d to %d", q.Queue, r[0], r[1]-1))
				}
			}
			t.row("archive", s.Head.Archive)
			t.row("signed by", checked.Key)
		})
	}
	return cmd
}
