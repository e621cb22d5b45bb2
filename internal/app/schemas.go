package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/inflate"
	"varve/internal/meta"
	"varve/internal/mq"
	"varve/internal/typed"
)

// schemaSection is the table of the state that has them.
const schemaSection = "schema"

// schemas are those of the topics, kept in the state store.
type schemas struct {
	settings *meta.Settings[typed.Topic]
	log      *slog.Logger

	mu      sync.Mutex // one change at a time
	layouts atomic.Pointer[map[string]*typed.Layout]

	wake chan struct{} // somebody asked for old files
	runs applyRuns
}

// openSchemas reads the schemas. One of a topic that is gone goes with it.
func (n *Node) openSchemas(context.Context) error {
	if n.broker == nil {
		return nil
	}
	s := &schemas{log: n.log, wake: make(chan struct{}, 1)}
	var err error
	s.settings, err = meta.LoadSettings(n.meta, meta.SettingsOf[typed.Topic]{
		What: schemaSection,
		Name: func(t *typed.Topic) string { return t.Name },
		New:  func(name string) typed.Topic { return typed.Topic{Name: name} },
		Check: func(t *typed.Topic) error {
			_, err := t.Layout()
			return err
		},
		Clone: func(t *typed.Topic) *typed.Topic { c := *t; return &c }, // a version is never changed
		Equal: func(a, b *typed.Topic) bool {
			return a.Off == b.Off && a.Applying == b.Applying && len(a.Versions) == len(b.Versions)
		},
	})
	if err != nil {
		return fmt.Errorf("read the schemas of topics: %w", err)
	}
	n.schemas = s
	s.show()
	forget := func() {
		s.forget(func(topic string) bool { _, ok := n.broker.Topic(topic); return !ok })
	}
	n.broker.OnTopicsChange(forget)
	forget()
	return nil
}

// show makes the layouts of the schemas in force.
func (s *schemas) show() {
	all := map[string]*typed.Layout{}
	for _, t := range s.settings.All() {
		l, err := t.Layout()
		if err != nil {
			s.log.Error("schema can't be read: bodies get no columns", slog.String("topic", t.Name), slog.Any("err", err))
			continue
		}
		if l != nil {
			all[t.Name] = l
		}
	}
	s.layouts.Store(&all)
}

// Layout gives the columns of a topic's schema, nil where it has none.
func (s *schemas) Layout(topic string) *typed.Layout {
	if s == nil { // a process without a broker
		return nil
	}
	return (*s.layouts.Load())[topic]
}

// forget removes the schemas of topics that are gone.
func (s *schemas) forget(gone func(topic string) bool) {
	if s.settings.Len() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.settings.All() {
		if !gone(t.Name) {
			continue
		}
		if _, err := s.settings.Delete(t.Name); err != nil {
			s.log.Error("schema of a topic that is gone is not removed", slog.String("topic", t.Name), slog.Any("err", err))
		}
	}
	s.show()
}

// change replaces a topic's schema by what f makes of it.
func (s *schemas) change(topic string, f func(t typed.Topic) (typed.Topic, bool, error)) (t typed.Topic, changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t = typed.Topic{Name: topic}
	if have, ok := s.settings.Get(topic); ok {
		t = *have
	}
	if t, changed, err = f(t); err != nil || !changed {
		return t, false, err
	}
	if _, err := s.settings.Put(t); err != nil {
		return t, false, coldError(err)
	}
	s.show()
	return t, true, nil
}

// schemaAPI implements admin.Schemas.
type schemaAPI struct{ n *Node }

func (a schemaAPI) Schemas(context.Context) ([]admin.Schema, error) {
	out := []admin.Schema{}
	for _, t := range a.n.schemas.settings.All() {
		if t.Newest() != nil {
			out = append(out, schemaOf(*t))
		}
	}
	return out, nil
}

func (a schemaAPI) Schema(_ context.Context, topic string) (admin.Schema, error) {
	t, ok := a.n.schemas.settings.Get(topic)
	if !ok || t.Newest() == nil {
		return admin.Schema{}, admin.NotFound("topic %q has no schema", topic)
	}
	out := schemaOf(*t)
	out.Document, out.Apply = t.Newest().Document, a.n.schemas.runs.of(*t)
	for _, v := range slices.Backward(t.Versions) {
		out.Versions = append(out.Versions, admin.SchemaVersion{
			Version: v.Number, Format: string(v.Format), Columns: len(v.Columns), Created: millis(v.Created),
		})
	}
	return out, nil
}

// schemaOf describes the newest version, without its document.
func schemaOf(t typed.Topic) admin.Schema {
	v := t.Newest()
	out := admin.Schema{
		Topic: t.Name, Version: v.Number, Format: string(v.Format), Message: v.Message, Created: millis(v.Created),
		Columns: make([]admin.SchemaColumn, len(v.Columns)),
	}
	for i, c := range v.Columns {
		out.Columns[i] = admin.SchemaColumn{ID: c.ID, Name: c.Name, Type: c.Type.String(), Doc: c.Doc}
	}
	for _, l := range v.LeftOut {
		out.LeftOut = append(out.LeftOut, admin.SchemaLeftOut(l))
	}
	return out
}

// table is what the topic's table has of typed columns: the ids that are given
// away, should the state that gave them be lost.
func (a schemaAPI) table(ctx context.Context, topic string) (typed.Table, error) {
	if a.n.archive == nil || a.n.store.Reborn(topic) {
		return typed.Table{}, nil
	}
	t, err := a.n.archive.Table(ctx, topic)
	if errors.Is(err, archive.ErrNoTable) {
		return typed.Table{}, nil
	}
	if err != nil {
		return typed.Table{}, coldError(err)
	}
	return t.Typed()
}

// declare makes the next version of a topic's schema.
func (a schemaAPI) declare(ctx context.Context, t typed.Topic, s admin.SchemaSpec) (typed.Topic, bool, error) {
	var table typed.Table
	if len(t.Versions) == 0 {
		var err error
		if table, err = a.table(ctx, t.Name); err != nil {
			return t, false, err
		}
	}
	next, changed, err := t.Declare(typed.Declaration{
		Format: typed.Format(s.Format), Document: s.Document, Message: s.Message, Rename: s.Rename, Drop: s.Drop, Now: time.Now().UnixMilli(),
	}, table)
	if err != nil {
		return t, false, admin.BadRequest("schema of topic %s: %v", t.Name, err)
	}
	return next, changed, nil
}

func (a schemaAPI) exists(topic string) error {
	if _, ok := a.n.broker.Topic(topic); !ok || mq.SystemTopic(topic) {
		return admin.NotFound("there is no topic %q", topic)
	}
	return nil
}

func (a schemaAPI) SetSchema(ctx context.Context, topic string, s admin.SchemaSpec) (admin.Schema, error) {
	if err := a.exists(topic); err != nil {
		return admin.Schema{}, err
	}
	t, changed, err := a.n.schemas.change(topic, func(t typed.Topic) (typed.Topic, bool, error) { return a.declare(ctx, t, s) })
	if err != nil {
		return admin.Schema{}, err
	}
	out := schemaOf(t)
	out.Changed = changed
	if changed {
		a.n.log.Info("schema set", slog.String("topic", topic), slog.Int("version", out.Version), slog.Int("columns", len(out.Columns)))
	}
	return out, nil
}

func (a schemaAPI) RemoveSchema(_ context.Context, topic string) error {
	_, changed, err := a.n.schemas.change(topic, func(t typed.Topic) (typed.Topic, bool, error) {
		had := t.Newest() != nil
		t.Off, t.Applying = true, false
		return t, had, nil
	})
	if err == nil && !changed {
		return admin.NotFound("topic %q has no schema", topic)
	}
	if err == nil {
		a.n.log.Info("schema removed", slog.String("topic", topic))
	}
	return err
}

// defaultTried is how many messages a schema is tried on, maxTriedBody how long
// an inflated body may be.
const (
	defaultTried = 100
	maxTriedBody = 4 << 20
)

func (a schemaAPI) TrySchema(ctx context.Context, topic string, trial admin.SchemaTrial) (admin.SchemaResult, error) {
	var out admin.SchemaResult
	if err := a.exists(topic); err != nil {
		return out, err
	}
	t := typed.Topic{Name: topic}
	if have, ok := a.n.schemas.settings.Get(topic); ok {
		t = *have
	}
	if trial.Format != "" {
		var err error
		if t, out.Changed, err = a.declare(ctx, t, trial.SchemaSpec); err != nil {
			return out, err
		}
	}
	if t.Newest() == nil {
		return out, admin.NotFound("topic %q has no schema", topic)
	}
	changed := out.Changed
	out.Schema = schemaOf(t)
	out.Changed = changed
	l, err := t.Layout()
	if err != nil {
		return out, err
	}
	return out, a.try(ctx, topic, l, cmp.Or(trial.Messages, defaultTried), &out)
}

// try reads the newest messages of every queue.
func (a schemaAPI) try(ctx context.Context, topic string, l *typed.Layout, most int, out *admin.SchemaResult) error {
	t, ok := a.n.broker.Topic(topic)
	if !ok {
		return admin.NotFound("there is no topic %q", topic)
	}
	dec := l.NewDecoder()
	each := max(1, most/int(max(1, t.Queues())))
	for id := range t.Queues() {
		q := mq.Queue{Broker: a.n.cfg.Broker.Name, Topic: topic, ID: id}
		r, err := a.n.reader.Range(ctx, q)
		if errors.Is(err, mq.ErrNoQueue) {
			continue
		}
		if err != nil {
			return brokerError(err)
		}
		for at := max(r.From, r.To-int64(each)); at < r.To && out.Tried < most; {
			b, err := a.n.reader.Read(ctx, q, at, mq.Limit{Bytes: 1 << 20, Messages: int(min(r.To-at, int64(most-out.Tried)))})
			if err != nil {
				return brokerError(err)
			}
			if b.Next <= at {
				break
			}
			for rec := range mq.Records(b.Body) {
				out.Tried++
				body, err := inflate.Body(rec.Body(), rec.SysFlag(), maxTriedBody)
				if err != nil {
					noteFit(out, rec, "it is compressed and can't be inflated")
					continue
				}
				noteFit(out, rec, dec.Append(body))
				dec.Reset()
			}
			if b.Free != nil {
				b.Free()
			}
			at = b.Next
		}
	}
	return nil
}

func noteFit(out *admin.SchemaResult, rec mq.Record, reason string) {
	if reason == "" {
		out.Fit++
		return
	}
	i := slices.IndexFunc(out.Misfits, func(m admin.SchemaMisfit) bool { return m.Reason == reason })
	if i < 0 {
		if len(out.Misfits) == maxMisfits {
			return
		}
		i = len(out.Misfits)
		out.Misfits = append(out.Misfits, admin.SchemaMisfit{Reason: reason, Queue: rec.QueueID(), Offset: rec.QueueOffset()})
	}
	out.Misfits[i].Messages++
}

// maxMisfits bounds the reasons that are told.
const maxMisfits = 50
