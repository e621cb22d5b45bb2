package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"varve/broker/group"
	"varve/broker/topic"
	"varve/internal/backup"
	wire "varve/internal/remoting"
)

// SectionBegins is the section of queues whose last messages the cluster had let
// go: "topic/queue id" → where the queue goes on, beyond what the archive has.
const SectionBegins = "log-begins"

// state is a broker group's small state, in the form of the tables of Varve's.
type state struct {
	topics  []topic.Config
	groups  []group.Config
	offsets map[string]map[int32]int64 // "group@topic" → queue → offset
	logEnd  int64
}

// readState asks a broker for its settings and the groups' progress.
func (im *importer) readState(ctx context.Context, s source) (*state, error) {
	var out *state
	err := im.persist(ctx, "read the settings", func(ctx context.Context) (err error) {
		out, err = im.askState(ctx, s)
		return err
	})
	return out, err
}

func (im *importer) askState(ctx context.Context, s source) (*state, error) {
	var topics struct {
		Table map[string]topic.Config `json:"topicConfigTable"`
	}
	var groups struct {
		Table map[string]json.RawMessage `json:"subscriptionGroupTable"`
	}
	var offsets struct {
		Table map[string]map[int32]int64 `json:"offsetTable"`
	}
	var runtime struct {
		Table map[string]string `json:"table"`
	}
	for code, into := range map[int]any{
		wire.GetAllTopicConfig: &topics, wire.GetAllGroupConfig: &groups, wire.GetAllConsumerOffset: &offsets, wire.GetBrokerRuntimeInfo: &runtime,
	} {
		if err := s.askJSON(ctx, code, into); err != nil {
			return nil, err
		}
	}
	out := &state{offsets: map[string]map[int32]int64{}}
	out.logEnd, _ = strconv.ParseInt(runtime.Table["commitLogMaxOffset"], 10, 64)
	for _, name := range slices.Sorted(maps.Keys(topics.Table)) {
		c := topics.Table[name]
		if c.Name = name; !im.wanted(name) {
			continue
		}
		if err := c.Check(); err != nil {
			return nil, fmt.Errorf("%w: %w", errBad, err)
		}
		out.topics = append(out.topics, c)
	}
	for _, name := range slices.Sorted(maps.Keys(groups.Table)) {
		c := group.Default(name)
		err := json.Unmarshal(groups.Table[name], &c)
		if c.Name = name; err == nil {
			err = c.Check()
		}
		if err != nil {
			im.Logger.Warn("a group's settings can't be taken over", slog.String("group", name), slog.Any("err", err))
			continue
		}
		out.groups = append(out.groups, c)
	}
	for key, queues := range offsets.Table {
		name, of, ok := strings.Cut(key, "@")
		if ok && im.wanted(name) {
			out.offsets[of+"@"+name] = queues
		}
	}
	return out, nil
}

// keepState writes the state as a snapshot, for a broker to be restored from.
func (im *importer) keepState(ctx context.Context, broker string, done *Broker, st *state) error {
	begins := map[string]int64{}
	for _, t := range done.Topics {
		for id, at := range t.begins {
			begins[fmt.Sprintf("%s/%d", t.Name, id)] = at
		}
	}
	w := backup.Writer{Bucket: im.a.Bucket(), Broker: broker, Now: im.Now, Logger: im.Logger}
	head := backup.Head{Generation: done.Generation, Archive: im.a.Identity(), LogEnd: st.logEnd, Program: im.Program}
	_, _, err := w.Write(ctx, head, []backup.Source{
		{Name: "topic", Each: each(st.topics, func(c topic.Config) (string, any) { return c.Name, c })},
		{Name: "group", Each: each(st.groups, func(c group.Config) (string, any) { return c.Name, c })},
		{Name: "offset", Each: each(slices.Sorted(maps.Keys(st.offsets)), func(key string) (string, any) {
			return key, map[string]any{"offsets": st.offsets[key]}
		})},
		{Name: SectionBegins, Each: each(slices.Sorted(maps.Keys(begins)), func(key string) (string, any) { return key, begins[key] })},
	})
	return err
}

func each[T any](all []T, item func(T) (key string, value any)) func(func(string, []byte) error) error {
	return func(fn func(string, []byte) error) error {
		for _, v := range all {
			key, value := item(v)
			raw, err := json.Marshal(value)
			if err != nil {
				return err
			}
			if err := fn(key, raw); err != nil {
				return err
			}
		}
		return nil
	}
}
