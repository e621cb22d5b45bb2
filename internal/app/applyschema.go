package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"varve/connector/apply"
	"varve/internal/admin"
	"varve/internal/config"
	"varve/internal/typed"
)

// applyAgain is how long a run that failed waits for the next.
const applyAgain = time.Minute

// applyRuns is how far runs are, by topic.
type applyRuns struct {
	mu sync.Mutex
	by map[string]applyRun
}

type applyRun struct {
	apply.Progress
	err string
}

func (r *applyRuns) note(topic string, change func(*applyRun)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]applyRun{}
	}
	run := r.by[topic]
	change(&run)
	r.by[topic] = run
}

// of gives a topic's, nil where none was asked for since the start.
func (r *applyRuns) of(t typed.Topic) *admin.SchemaApply {
	r.mu.Lock()
	defer r.mu.Unlock()
	run, ok := r.by[t.Name]
	if !ok && !t.Applying {
		return nil
	}
	out := &admin.SchemaApply{Running: t.Applying, Files: run.Files, Done: run.Done, Skipped: run.Skipped, Error: run.err}
	for _, l := range run.Left {
		out.Left = append(out.Left, admin.SchemaLeft{Object: l.Object, Broker: l.Queue.Broker, Queue: l.Queue.ID, From: l.Range.From, To: l.Range.To, Why: l.Why})
	}
	return out
}

// openApply makes what gives older files the columns of a schema. What was
// asked for before a restart goes on.
func (n *Node) openApply(context.Context) error {
	if n.schemas == nil || !n.cfg.Has(config.RoleConnector) {
		return nil
	}
	a := apply.New(apply.Config{Broker: n.cfg.Broker.Name, Dir: n.dir.path("tmp"), CallTimeout: n.cfg.Archive.Timeout, Logger: n.log}, n.archive)
	n.onRun("schemas", func(ctx context.Context) error {
		if !n.reach.wait(ctx) {
			return nil
		}
		for {
			wait := n.schemas.applyAll(ctx, a)
			select {
			case <-ctx.Done():
				return nil
			case <-n.schemas.wake:
			case <-time.After(wait):
			}
		}
	})
	return nil
}

// applyAll does what was asked for, and gives the time until it is looked again.
func (s *schemas) applyAll(ctx context.Context, a *apply.Applier) time.Duration {
	wait := 24 * time.Hour
	for _, t := range s.settings.All() {
		l := s.Layout(t.Name)
		if !t.Applying || l == nil {
			continue
		}
		err := a.Apply(ctx, t.Name, l, func(p apply.Progress) {
			s.runs.note(t.Name, func(r *applyRun) { r.Progress, r.err = p, "" })
		})
		if ctx.Err() != nil {
			return wait
		}
		if err == nil {
			err = s.applied(t.Name, l)
		}
		if err != nil {
			wait = applyAgain
			s.runs.note(t.Name, func(r *applyRun) { r.err = err.Error() })
			s.log.Warn("older files don't have the columns of the schema yet", slog.String("topic", t.Name), slog.Any("err", err))
		}
	}
	return wait
}

// applied notes that a run is through, unless another version came meanwhile:
// then that one is next.
func (s *schemas) applied(topic string, l *typed.Layout) error {
	_, _, err := s.change(topic, func(t typed.Topic) (typed.Topic, bool, error) {
		if v := t.Newest(); v != nil && v.Number != l.Version {
			s.look()
			return t, false, nil
		}
		had := t.Applying
		t.Applying = false
		return t, had && len(t.Versions) > 0, nil
	})
	if err == nil {
		s.log.Info("older files have the columns of the schema", slog.String("topic", topic), slog.Int("version", l.Version))
	}
	return err
}

// look has the runs looked at again.
func (s *schemas) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (a schemaAPI) ApplySchema(_ context.Context, topic string) (admin.Schema, error) {
	if !a.n.cfg.Has(config.RoleConnector) {
		return admin.Schema{}, admin.Unavailable("this process has no connector, which writes the archive's files")
	}
	t, changed, err := a.n.schemas.change(topic, func(t typed.Topic) (typed.Topic, bool, error) {
		if t.Newest() == nil {
			return t, false, admin.NotFound("topic %q has no schema", topic)
		}
		had := t.Applying
		t.Applying = true
		return t, !had, nil
	})
	if err != nil {
		return admin.Schema{}, err
	}
	if changed {
		a.n.schemas.runs.note(topic, func(r *applyRun) { *r = applyRun{} })
	}
	a.n.schemas.look()
	out := schemaOf(t)
	out.Apply, out.Changed = a.n.schemas.runs.of(t), changed
	return out, nil
}
