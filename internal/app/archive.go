package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"varve/connector"
	"varve/hot"
	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/config"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/s3"
)

// failingLong is how long the connector may fail before the process is not
// ready any more.
const failingLong = 30 * time.Second

// openBucket makes the archive's bucket, and gives the key that names it.
func (n *Node) openBucket() (key string, err error) {
	n.bucket, key, err = OpenBucket(n.cfg, n.dir.path("archive"))
	return key, err
}

// OpenBucket makes the bucket that settings name, and gives the key that names
// it; dir is where a dir archive is that they don't name.
func OpenBucket(c *config.Config, dir string) (b objstore.Bucket, key string, err error) {
	if c.Archive.Kind == "s3" {
		b, err = openS3(c.Archive)
		return b, "archive.s3", err
	}
	key = "archive.dir"
	if c.Archive.Dir != "" {
		dir = c.Archive.Dir
	}
	if dir, err = filepath.Abs(dir); err == nil {
		b, err = fs.New(dir)
	}
	if err != nil {
		return nil, key, &config.Error{Key: key, Reason: err.Error()}
	}
	return b, key, nil
}

func openS3(a config.Archive) (objstore.Bucket, error) {
	c := a.S3
	endpoint, insecure := s3Endpoint(c)
	b, err := s3.New(s3.Config{
		Endpoint: endpoint, Insecure: insecure, Region: c.Region, Bucket: c.Bucket, Prefix: strings.Trim(c.Prefix, "/"),
		AccessKey: c.AccessKey, SecretKey: c.SecretKey, PathStyle: c.PathStyle,
		Timeout: a.Timeout,
	})
	if err != nil {
		return nil, &config.Error{Key: "archive.s3", Reason: err.Error()}
	}
	return b, nil
}

// s3Endpoint gives the store's host and port, and whether it is spoken to
// without TLS.
func s3Endpoint(c config.S3) (endpoint string, insecure bool) {
	for scheme, plain := range map[string]bool{"http://": true, "https://": false} {
		if rest, ok := strings.CutPrefix(c.Endpoint, scheme); ok {
			return strings.TrimSuffix(rest, "/"), plain
		}
	}
	return c.Endpoint, !c.TLS
}

// openConnector makes what archives the log.
func (n *Node) openConnector(context.Context) error {
	if !n.cfg.Has(config.RoleConnector) {
		return nil
	}
	c := n.cfg.Connector
	var err error
	n.connector, err = connector.New(connector.Config{
		Broker: n.cfg.Broker.Name, Dir: n.dir.path("tmp", "connector"), FileBytes: int64(c.RollBytes),
		RollAge: c.RollAge, RollAgeMax: max(c.RollAge, c.RollAgeMax), MemoryBytes: int64(c.Memory),
		Claim: n.claimArchive, Schemas: n.schemas, Logger: n.log,
	}, n.store, n.archive)
	if err != nil {
		return fmt.Errorf("start the connector: %w", err)
	}
	n.openEraser()
	n.onRun("connector", n.runConnector)
	n.onRun("claim watch", n.watchClaim)
	return nil
}

// runConnector keeps the process up where another connector took over: its
// broker still serves, and the API says what happened.
func (n *Node) runConnector(ctx context.Context) error {
	// It would try by itself, but not at once when the archive opens.
	if !n.reach.wait(ctx) {
		return nil
	}
	err := n.connector.Run(ctx)
	if errors.Is(err, archive.ErrFenced) || errors.Is(err, connector.ErrForeignLog) {
		n.stoppedArchiving(ctx, err)
		<-ctx.Done()
		return nil
	}
	return err
}

// trouble is why a connector needs somebody's help, "" where it doesn't. What
// fails for a short time isn't worth a word: the log holds what comes meanwhile.
func trouble(st connector.Status, now time.Time) string {
	switch {
	case st.State == connector.Retrying && now.Sub(st.FailingSince) >= failingLong:
		return fmt.Sprintf("archiving fails since %s: %s", st.FailingSince.UTC().Format(time.RFC3339), st.Error)
	case len(st.Blocked) > 0:
		b := st.Blocked[0]
		return fmt.Sprintf("%d queues are not archived any more, such as %v: %s", len(st.Blocked), b.Queue, b.Reason)
	case len(st.Damaged) > 0:
		return damagedTables(st.Damaged)
	}
	return ""
}

// damagedTables says which topics' tables can't be read, "" where all can.
func damagedTables(reasons map[string]string) string {
	if len(reasons) == 0 {
		return ""
	}
	topic := slices.Min(slices.Collect(maps.Keys(reasons)))
	return fmt.Sprintf("%d tables can't be read, such as that of %s: %s", len(reasons), topic, reasons[topic])
}

// archiveAPI implements admin.Archive.
type archiveAPI struct{ n *Node }

func (a archiveAPI) ArchiveStatus(ctx context.Context) (admin.ArchiveStatus, error) {
	out := admin.ArchiveStatus{Location: a.n.bucket.URL(), Topics: []admin.ArchiveTopic{}}
	pending := a.pending(ctx)
	var err error
	out.Topics, err = a.topics(ctx, pending)
	switch {
	case errors.Is(err, archive.ErrUnavailable):
		if out.Unreached = a.n.reach.trouble(); out.Unreached == "" {
			out.Unreached = err.Error() // not noticed before
		}
	case err != nil:
		return out, err
	}
	for name, n := range pending {
		out.Topics = append(out.Topics, admin.ArchiveTopic{Topic: name, Pending: n})
	}
	st := a.n.connector.Status()
	for i := range out.Topics { // open here, damaged for the connector
		t := &out.Topics[i]
		if t.Error == "" {
			t.Error = st.Damaged[t.Topic]
		}
	}
	out.Pending, out.Compaction, out.State = st.LagMessages, a.n.compaction(), a.n.backup.status()
	if a.n.retainer != nil && a.n.holds.Active() > 0 {
		lock := guardAPI(a).objectLock()
		out.Lock = &lock
	}
	if st.State == connector.Retrying || st.State == connector.Fenced {
		out.Error = st.Error
	}
	if cause := a.n.health.Cause(partConnector); cause != "" {
		out.Error = cause
	}
	for _, f := range a.n.history.BadFiles() {
		out.BadFiles = append(out.BadFiles, admin.ArchiveBadFile{
			Name: f.File.Name, Topic: f.File.Queue.Topic, Broker: f.File.Queue.Broker, Queue: f.File.Queue.ID,
			From: f.File.Offsets.From, To: f.File.Offsets.To, At: f.At, Reason: f.Why, Since: f.Since,
		})
	}
	for _, b := range st.Blocked {
		out.Blocked = append(out.Blocked, admin.ArchiveBlocked{Broker: b.Queue.Broker, Topic: b.Queue.Topic, Queue: b.Queue.ID, Reason: b.Reason})
	}
	return out, nil
}

// topics gives the topics that the archive has, and takes them out of pending.
// With an error it gives those that came before.
func (a archiveAPI) topics(ctx context.Context, pending map[string]int64) ([]admin.ArchiveTopic, error) {
	out := []admin.ArchiveTopic{}
	names, err := a.n.archive.Topics(ctx)
	if err != nil {
		return out, err
	}
	for _, name := range names {
		t, err := a.n.archive.Table(ctx, name)
		if errors.Is(err, archive.ErrNoTable) {
			continue
		}
		switch {
		case archive.Unreadable(err):
			out = append(out, admin.ArchiveTopic{Topic: name, Pending: pending[name], Error: err.Error()})
		case err != nil:
			return out, fmt.Errorf("table of %s: %w", name, err)
		default:
			x := archiveTopic(name, t, pending[name])
			x.Holds, x.Held = a.n.holds.Keeping(t)
			out = append(out, x)
		}
		delete(pending, name)
	}
	return out, nil
}

// pending counts what is confirmed and not archived, by topic.
func (a archiveAPI) pending(ctx context.Context) map[string]int64 {
	out := map[string]int64{}
	for _, q := range a.n.store.Queues() {
		if mq.SystemTopic(q.Topic) {
			continue
		}
		if r, err := a.n.store.Range(ctx, q); err == nil {
			out[q.Topic] += r.To - min(r.To, max(r.From, a.n.store.Archived(q)))
		}
	}
	return out
}

func archiveTopic(name string, t *archive.Table, pending int64) admin.ArchiveTopic {
	snap := t.Snapshot()
	out := admin.ArchiveTopic{Topic: name, Location: t.Location(), Snapshot: snap.ID, Pending: pending}
	files := tableFiles(t)
	out.Files = len(archive.Objects(files))
	for _, f := range files {
		out.Messages += f.Rows
		out.Bytes += f.Bytes
		out.RawBytes += f.RawBytes
		if first := millis(f.FirstStoreMillis); out.FirstTime.IsZero() || first.Before(out.FirstTime) {
			out.FirstTime = first
		}
		if last := millis(f.LastStoreMillis); last.After(out.LastTime) {
			out.LastTime = last
		}
	}
	for _, q := range t.Index().Queues() {
		for _, g := range snap.Gaps[q] {
			out.Gaps = append(out.Gaps, admin.ArchiveGap{Broker: q.Broker, Queue: q.ID, From: g.From, To: g.To})
		}
	}
	// Files of the first versions don't say their raw length: a sum without them
	// would be no sum.
	if slices.ContainsFunc(files, func(f archive.DataFile) bool { return f.RawBytes == 0 }) {
		out.RawBytes = 0
	}
	return out
}

// tableFiles is every data file of a table, in order of queue and offset.
func tableFiles(t *archive.Table) []archive.DataFile {
	var out []archive.DataFile
	x := t.Index()
	for _, q := range x.Queues() {
		if r, ok := x.Range(q); ok {
			out = append(out, x.Files(q, r)...)
		}
	}
	return out
}

func (a archiveAPI) ArchiveFiles(ctx context.Context, topic string) ([]admin.ArchiveFile, error) {
	t, err := a.n.archive.Table(ctx, topic)
	if errors.Is(err, archive.ErrNoTable) {
		return nil, admin.NotFound("topic %q has nothing in the archive", topic)
	}
	if err != nil {
		return nil, coldError(err)
	}
	out := []admin.ArchiveFile{}
	for _, f := range tableFiles(t) {
		out = append(out, admin.ArchiveFile{
			Name: f.Name, Broker: f.Queue.Broker, Queue: f.Queue.ID, From: f.Offsets.From, To: f.Offsets.To, Messages: f.Rows,
			Bytes: f.Bytes, FirstTime: millis(f.FirstStoreMillis), LastTime: millis(f.LastStoreMillis),
		})
	}
	return out, nil
}

func (a archiveAPI) Flush(ctx context.Context) error {
	if why := a.n.reach.trouble(); why != "" {
		return admin.Unavailable("flush: %s", why)
	}
	err := a.n.connector.Flush(ctx)
	if err != nil && (errors.Is(err, connector.ErrStopped) || errors.Is(err, connector.ErrBlocked) || errors.Is(err, connector.ErrFailing)) {
		return admin.Unavailable("%v", err)
	}
	if err != nil {
		return err
	}
	if why := trouble(a.n.connector.Status(), time.Now()); why != "" {
		return admin.Unavailable("flush: %s", why)
	}
	if err := a.n.backup.take(ctx, true); err != nil {
		return admin.Unavailable("flush: the messages are archived, but not the state: %v", err)
	}
	return nil
}

func (a archiveAPI) Trim(ctx context.Context, keep int64) (admin.Trimmed, error) {
	if keep < 0 {
		return admin.Trimmed{}, admin.BadRequest("keep_bytes: %d is negative", keep)
	}
	var p hot.TrimPolicy
	if keep > 0 {
		p.KeepFor, p.KeepBytes = forever, keep
	} else if err := a.n.store.Roll(ctx); err != nil {
		return admin.Trimmed{}, fmt.Errorf("start a new segment: %w", err)
	}
	freed, err := a.n.store.Trim(ctx, p)
	return admin.Trimmed{FreedBytes: freed}, err
}
