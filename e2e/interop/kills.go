package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"varve/e2e/faulty"
	"varve/e2e/server"
)

const (
	faultsColumn = "Kills and a bad bucket, by independent readers"
	killQueues   = 2
	killBurst    = 24
	killLimit    = 60 // changes of the bucket that one step takes at most
	killColumns  = 8  // kills of the rewriting of files, which is the same for each
	killKeep     = 20
)

// Topics of the kills: compaction, rules and erasures are about the first alone, schemas about the last.
var killTopics = []string{"kill_orders", "kill_quiet", "kill_typed"}

// killRun kills one server at every change that it makes in its bucket, one after the other, and has what it leaves judged.
type killRun struct {
	cfg     config
	proxy   *faulty.Proxy
	ev      *evidence
	broker  string
	v       *server.Server
	now     bucketState // what is demanded of the next states
	kills   int
	columns int
	at      []string // where it was killed last: what was asked of the bucket
}

func (k *killRun) options(dir string, env ...string) server.Options {
	return server.Options{
		Dir: filepath.Join(k.cfg.work, dir), RollAge: time.Minute,
		S3: &server.S3{Endpoint: k.proxy.Addr(), Bucket: k.ev.bucket, AccessKey: server.MinioKey, SecretKey: server.MinioSecret},
		Env: append([]string{
			"VARVE_BROKER_NAME=" + k.broker, "VARVE_HOT_SEGMENT=8MiB", "VARVE_COMPACTION_SETTLE=0s", "VARVE_COMPACTION_INTERVAL=1h", "VARVE_COMPACTION_CPU=100", "VARVE_COMPACTION_BANDWIDTH=0", "VARVE_RETENTION_INTERVAL=1h",
			"VARVE_RETENTION_GRACE=1ms", "VARVE_RETENTION_SWEEP=1ms", "VARVE_BACKUP_EVERY=1h", "VARVE_HISTORY_CACHE=64MiB", "VARVE_HOT_MIN_FREE=64MiB",
		}, env...),
	}
}

// start starts the server; with a trap it may be killed while it starts.
func (k *killRun) start(ctx context.Context, o server.Options) error {
	s, err := server.Varve{Binary: k.cfg.binary}.Spawn(o)
	if err != nil {
		return err
	}
	k.v = s
	return s.Await(ctx)
}

// end leaves no server behind where the script broke off.
func (k *killRun) end() {
	if k.v != nil {
		_ = k.v.Kill() // it may be dead
	}
}

// trap has the server killed at one of the bucket's requests; the channel is closed when it is dead.
func (k *killRun) trap(at int, after, reads bool) <-chan struct{} {
	dead := make(chan struct{})
	k.proxy.Arm(&faulty.Trap{At: at, After: after, Reads: reads, Spring: func(request string) {
		defer close(dead)
		k.at = append(k.at, request)
		if err := k.v.Kill(); err != nil {
			k.at = append(k.at, err.Error())
		}
	}})
	return dead
}

// struck says whether the server was killed during what was tried, and waits until it is dead and the bucket is quiet.
func (k *killRun) struck(dead <-chan struct{}) bool {
	if !k.proxy.Disarm() {
		return false
	}
	<-dead
	k.proxy.Quiet()
	k.kills++
	return true
}

// step does something once for each change that it makes in the bucket, and kills the server there: before the first, and
// after each. After each kill the server goes on, and does it to the end.
func (k *killRun) step(ctx context.Context, name string, most int, prepare, do func(context.Context) error) error {
	for n := range killLimit {
		if n == most {
			return nil // what follows is the same for another file
		}
		if err := prepare(ctx); err != nil {
			return fmt.Errorf("%s: before kill %d: %w", name, n, err)
		}
		dead := k.trap(max(n, 1), n > 0, false)
		err := do(ctx)
		struck := k.struck(dead)
		if !struck && err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := k.look(ctx, fmt.Sprintf("%s, kill %d", name, n), struck); err != nil {
			return err
		}
		if !struck {
			return nil
		}
		if err := k.start(ctx, k.options("kills")); err != nil {
			return fmt.Errorf("%s: after kill %d (%s): %w", name, n, k.at[len(k.at)-1], err)
		}
		if err := do(ctx); err != nil {
			return fmt.Errorf("%s: again after kill %d (%s): %w", name, n, k.at[len(k.at)-1], err)
		}
	}
	return fmt.Errorf("%s: not done after %d changes of the bucket", name, killLimit)
}

// look keeps the state of the bucket; after a kill, or with the border as the living server tells it.
func (k *killRun) look(ctx context.Context, name string, dead bool) error {
	s := k.now
	s.Name, s.Hot = name, nil
	if dead {
		s.Name += ": " + k.at[len(k.at)-1]
		return k.ev.state(ctx, s)
	}
	s.Hot = map[string][]hot{}
	for topic := range k.ev.need {
		var d struct{ Detail []hot }
		if err := k.v.Get(ctx, "/api/v1/topics/"+topic, &d); err != nil {
			return err
		}
		s.Hot[topic] = d.Detail
	}
	return k.ev.state(ctx, s)
}

func (k *killRun) send(ctx context.Context) error { return k.sendTo(ctx, killTopics[:1]) }

func (k *killRun) sendTo(ctx context.Context, topics []string) error {
	_, err := k.ev.send(ctx, k.v.Addrs.Broker, k.broker, topics, killQueues, killBurst)
	return err
}

// both sends to two topics: a flush commits to two tables.
func (k *killRun) both(ctx context.Context) error { return k.sendTo(ctx, killTopics[:2]) }

// typed sends to the topic that has a schema.
func (k *killRun) typed(ctx context.Context) error {
	_, err := k.ev.send(ctx, k.v.Addrs.Broker, k.broker, killTopics[2:], 1, killBurst/4)
	return err
}

func (k *killRun) flush(ctx context.Context) error {
	before := k.ev.acks()
	if err := k.v.ArchiveAll(ctx); err != nil {
		return err
	}
	k.ev.flushed(k.broker, before)
	return nil
}

// files has more small files in the archive.
func (k *killRun) files(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		for range n {
			if err := errors.Join(k.send(ctx), k.flush(ctx)); err != nil {
				return err
			}
		}
		return nil
	}
}

func (k *killRun) ask(method, path string, what any) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := k.v.Ask(ctx, method, path, what)
		return err
	}
}

// compact puts files together, once the connector runs.
func (k *killRun) compact(ctx context.Context) error {
	for {
		_, err := k.v.Ask(ctx, http.MethodPost, "/api/v1/archive/compact?topic="+killTopics[0], nil)
		if err == nil || !strings.Contains(err.Error(), "the connector is starting") {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// retain applies the rules, and once more: then the grace of what the first time took out is over.
func (k *killRun) retain(ctx context.Context) error {
	apply := k.ask(http.MethodPost, "/api/v1/retention/apply", nil)
	if err := apply(ctx); err != nil {
		return err
	}
	return apply(ctx)
}

// erase erases a message that was not erased before; it is not hot any more.
func (k *killRun) erase(ctx context.Context) error {
	target := k.now.May[len(k.now.May)-1]
	what := map[string]any{"key": fmt.Sprintf("O-2026-%012d", target), "who": "interop", "why": "a kill"}
	_, err := k.v.Ask(ctx, http.MethodPost, "/api/v1/archive/"+killTopics[0]+"/erasures", what)
	if err != nil && strings.Contains(err.Error(), "no such message in the archive") {
		err = nil // it was erased before the kill: nothing has its key any more
	}
	if err == nil && !slices.Contains(k.now.Erased, target) {
		k.now.Erased = append(k.now.Erased, target)
	}
	return err
}

// erasable picks the message that is erased next, and takes it from the hot log.
func (k *killRun) erasable(ctx context.Context) error {
	if err := errors.Join(k.send(ctx), k.flush(ctx), k.v.TrimAll(ctx)); err != nil {
		return err
	}
	for _, a := range slices.Backward(k.ev.Acked) {
		if a.Topic == killTopics[0] {
			k.now.May = append(k.now.May, a.Serial)
			return nil
		}
	}
	return errors.New("nothing to erase")
}

// schema declares one column more than before.
func (k *killRun) schema(ctx context.Context) error {
	properties := map[string]any{"order_id": map[string]any{"type": "string"}, "total": map[string]any{"type": "number"}, "status": map[string]any{"type": "string"}}
	k.columns++
	for n := range k.columns {
		properties[fmt.Sprintf("later_%d", n)] = map[string]any{"type": "string"}
	}
	document, err := json.Marshal(map[string]any{"type": "object", "properties": properties})
	if err != nil {
		return fmt.Errorf("writing a schema: %w", err)
	}
	return k.ask(http.MethodPut, "/api/v1/topics/"+killTopics[2]+"/schema", map[string]any{"format": "json", "document": document})(ctx)
}

// older has files in the archive that lack a column.
func (k *killRun) older(ctx context.Context) error {
	return errors.Join(k.typed(ctx), k.flush(ctx), k.schema(ctx))
}

// applied gives what is archived the schema's columns, and waits for it.
func (k *killRun) applied(ctx context.Context) error {
	path := "/api/v1/topics/" + killTopics[2] + "/schema"
	if _, err := k.v.Ask(ctx, http.MethodPost, path+"/apply", nil); err != nil {
		return err
	}
	for {
		var s struct {
			Apply *struct {
				Running bool
				Error   string
			}
		}
		if err := k.v.Get(ctx, path, &s); err != nil {
			return err
		}
		if s.Apply != nil && s.Apply.Error != "" {
			return errors.New(s.Apply.Error)
		}
		if s.Apply != nil && !s.Apply.Running {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// restarts kills a server at each change of the bucket while it starts.
func (k *killRun) restarts(ctx context.Context) error {
	for n := 1; n < killLimit; n++ {
		if err := errors.Join(k.send(ctx), k.v.Kill()); err != nil {
			return err
		}
		dead := k.trap(n, true, false)
		err := k.start(ctx, k.options("kills"))
		struck := k.struck(dead)
		if err != nil && !struck {
			return err
		}
		if err := k.look(ctx, fmt.Sprintf("start, kill %d", n), struck); err != nil {
			return err
		}
		if !struck {
			return nil
		}
		if err := k.start(ctx, k.options("kills")); err != nil {
			return fmt.Errorf("start after kill %d (%s): %w", n, k.at[len(k.at)-1], err)
		}
	}
	return fmt.Errorf("a start changes the bucket more than %d times", killLimit)
}

// runKills lets one server do all that changes an archive, and kills it at every change.
func runKills(ctx context.Context, c config, proxy *faulty.Proxy, ev *evidence) (string, error) {
	k := &killRun{cfg: c, proxy: proxy, ev: ev, broker: "varve-kills"}
	defer k.end()
	if err := k.start(ctx, k.options("kills")); err != nil {
		return "", err
	}
	rule := k.ask(http.MethodPut, "/api/v1/retention/rules/short", map[string]any{"name": "short", "topic": killTopics[0], "archive": map[string]any{"messages": killKeep}})
	for _, s := range []struct {
		name        string
		most        int // kills
		prepare, do func(context.Context) error
	}{
		{"commit", killLimit, k.both, k.flush},
		{"compaction", killLimit, k.files(2), k.compact},
		{"columns for what is archived", killColumns, k.older, k.applied},
		{"commit of new columns", killLimit, func(ctx context.Context) error { return errors.Join(k.schema(ctx), k.typed(ctx)) }, k.flush},
		{"retention and expiry", killLimit, func(ctx context.Context) error { return errors.Join(k.files(2)(ctx), rule(ctx)) }, k.retain},
		{"erasure", killLimit, k.erasable, k.erase},
	} {
		began, kills := time.Now(), k.kills
		if err := k.step(ctx, s.name, s.most, s.prepare, s.do); err != nil {
			return "", err
		}
		if s.name == "columns for what is archived" {
			k.now.Typed = killTopics[2:]
		}
		fmt.Printf("      %s: %d kills, %.1fs\n", s.name, k.kills-kills, time.Since(began).Seconds())
	}
	if err := k.restarts(ctx); err != nil {
		return "", err
	}
	if err := errors.Join(k.both(ctx), k.flush(ctx), k.look(ctx, "the end", false), k.v.Stop()); err != nil {
		return "", err
	}
	said, err := k.ev.check(ctx, k.cfg, "kills")
	return fmt.Sprintf("%d kills, one at each change of the bucket; %s", k.kills, said), err
}
