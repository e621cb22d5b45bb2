package query

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/query/wire"
)

// maxAttempts bounds how often a query begins again because the hot log was
// trimmed past the archive state it had taken.
const maxAttempts = 5

// errMoved says that the border between archive and hot log moved too far, or
// that the topic was deleted.
var errMoved = errors.New("the hot log was trimmed or its topic deleted meanwhile")

// missingError is errMoved where an object of the archive isn't there: by
// retention, as long as the archive's newer state doesn't list it any more.
type missingError struct{ name string }

func (e *missingError) Error() string { return e.name + " is not in the archive" }

func (e *missingError) Is(target error) bool { return target == errMoved }

// gather makes the files of the query's tables.
func (q *run) gather(refs []wire.TableRef) ([]wire.Table, error) {
	if len(refs) == 0 {
		return nil, nil // nothing of the archive is asked
	}
	names, err := q.names()
	if err != nil {
		return nil, err
	}
	out := make([]wire.Table, len(refs))
	for i, ref := range refs {
		topic, err := names.find(ref, q.req.Tenant)
		if err != nil && q.deletionsAsked(ref) {
			if out[i], err = q.deletions(names); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if out[i], err = q.gatherTopic(topic, ref); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (q *run) gatherTopic(topic string, ref wire.TableRef) (wire.Table, error) {
	refresh := false
	var last error
	for range maxAttempts {
		before := q.stats
		t, err := q.attempt(topic, ref, refresh)
		if !errors.Is(err, errMoved) {
			return t, err
		}
		q.stats = before
		refresh = true
		last = err
	}
	var missing *missingError
	if errors.As(last, &missing) {
		q.bad(topic, missing.name, "it is missing")
		return wire.Table{}, &Error{Kind: wire.Storage, Message: "topic " + topic + ": the archive lists " + missing.name + ", and the object is missing: it was removed by other means than retention"}
	}
	return wire.Table{}, &Error{Kind: wire.Storage, Message: "topic " + topic + ": the hot log is trimmed, or the topic deleted and made again, faster than the query can read its end; try again"}
}

// attempt takes the archive's state and reads the hot log from exactly there.
func (q *run) attempt(topic string, ref wire.TableRef, refresh bool) (t wire.Table, err error) {
	var st State
	var chosen []archive.DataFile
	life := q.life(topic)
	if !life.reborn { // else what the archive has is of a topic that was deleted
		if st, chosen, err = q.archived(topic, ref.Bounds, refresh); err != nil {
			return t, err
		}
	}
	layout := q.layout(topic)
	columns := columnsOf(layout, st.Typed)
	linked, err := q.link(topic, chosen)
	if err != nil {
		return t, err
	}
	theirs, err := q.check(topic, chosen, linked, checkedSet(ref, columns))
	if err != nil {
		return t, err
	}
	hot, err := q.hotFiles(topic, st.Next, ref.Bounds, refresh, layout)
	if err != nil {
		return t, err
	}
	if q.life(topic) != life {
		return t, errMoved // its queues may be of two topics
	}
	return tableOf(topic, columns, linked, theirs, hot, layout), nil
}

// life tells a topic from one that had its name before.
type life struct {
	ending int64
	reborn bool
}

func (q *run) life(topic string) life {
	hot := q.e.deps.Hot
	if hot == nil {
		return life{}
	}
	return life{hot.Ending(topic), hot.Reborn(topic)}
}

// archived gives the archive's state, and the files whose rows the query can need.
func (q *run) archived(topic string, b wire.Bounds, refresh bool) (st State, chosen []archive.DataFile, err error) {
	st, err = q.e.deps.Catalog.State(q.ctx, topic, refresh)
	if errors.Is(err, archive.ErrNoTable) {
		return State{}, nil, nil
	}
	if err != nil {
		return st, nil, storageError("reading the archive of "+topic, err)
	}
	for _, f := range st.Files {
		if b.NeedsQueue(f.Queue.Broker, f.Queue.ID) && b.StoreMillis.Overlaps(f.FirstStoreMillis, f.LastStoreMillis) &&
			b.Offset.Overlaps(f.Offsets.From, f.Offsets.To-1) {
			chosen = append(chosen, f)
		}
	}
	for _, f := range chosen {
		q.stats.ArchiveBytes += f.Bytes
		q.stats.ArchiveRows += f.Rows
	}
	chosen = objectsOf(st.Files, chosen)
	q.stats.ArchiveFiles += int64(len(chosen))
	if limit := q.e.cfg.MaxScanBytes; limit > 0 && q.stats.ArchiveBytes > limit {
		return st, nil, &Error{Kind: wire.TooLarge, Message: fmt.Sprintf("the query would read %d bytes of the archive, the limit is %d; narrow it by store_time, queue_id or queue_offset", q.stats.ArchiveBytes, limit)}
	}
	return st, chosen, nil
}

// objectsOf gives one file for each object that has a chosen one, always the same:
// who reads an object for one queue reads it for all, and what is not asked for is
// left out by the query itself.
func objectsOf(all, chosen []archive.DataFile) []archive.DataFile {
	if !slices.ContainsFunc(chosen, archive.DataFile.Shared) {
		return chosen
	}
	first := map[string]archive.DataFile{}
	for _, f := range archive.Objects(all) {
		first[f.Name] = f
	}
	out := archive.Objects(chosen)
	for i, f := range out {
		out[i] = first[f.Name]
	}
	return out
}

// link puts the archive's files into the query's directory, so that they stay
// for as long as the query runs and no name of the archive reaches the worker.
func (q *run) link(topic string, files []archive.DataFile) ([]string, error) {
	if len(files) == 0 {
		return nil, nil
	}
	paths, release, err := q.e.deps.Files.Local(q.ctx, files)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, objstore.ErrNotFound) {
		name := "one of its objects"
		var missing *MissingFileError
		if errors.As(err, &missing) {
			name = missing.Name
		}
		return nil, &missingError{name} // retention was faster
	}
	if err != nil {
		return nil, storageError("getting the archive files of "+topic, err)
	}
	q.undo = append(q.undo, release)
	out := make([]string, len(paths))
	for i, p := range paths {
		if p, err = filepath.Abs(p); err != nil {
			return nil, storageError("getting the archive files of "+topic, err)
		}
		out[i] = q.newFile("archive")
		if q.objects == nil {
			q.objects = map[string]object{}
		}
		q.objects[filepath.Base(out[i])] = object{topic, files[i].Name}
		if err := os.Link(p, out[i]); err == nil {
			continue
		}
		// Another file system, or one without links: by name then.
		if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
			return nil, &missingError{files[i].Name}
		} else if err != nil {
			return nil, storageError("getting the archive files of "+topic, err)
		}
		if err := os.Symlink(p, out[i]); err != nil {
			return nil, storageError("getting the archive files of "+topic, err)
		}
	}
	return out, nil
}

// newFile names a new file in the query's directory.
func (q *run) newFile(kind string) string {
	q.files++
	return filepath.Join(q.dir, filesDir, fmt.Sprintf("%s-%06d.parquet", kind, q.files))
}

func storageError(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kind := wire.Storage
	if errors.Is(err, archive.ErrUnavailable) {
		kind = wire.Unavailable
	}
	return &Error{Kind: kind, Message: doing + ": " + err.Error()}
}

// hotQueues lists the hot log's queues of a topic.
func (q *run) hotQueues(topic string) []mq.Queue {
	if q.e.deps.Hot == nil {
		return nil
	}
	var out []mq.Queue
	for _, queue := range q.e.deps.Hot.Queues() {
		if queue.Topic == topic {
			out = append(out, queue)
		}
	}
	slices.SortFunc(out, func(a, b mq.Queue) int { return int(a.ID) - int(b.ID) })
	return out
}
