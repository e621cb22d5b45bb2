package query

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"varve/query/wire"
)

// The table of what retention removed: a row a file. A topic of that name in a
// tenant of that name comes first.
const (
	ownSchema      = "varve"
	deletionsTable = "deletions"
)

// deletionsAsked reports whether a table is that of what retention removed.
func (q *run) deletionsAsked(ref wire.TableRef) bool {
	return q.e.deps.Deletions != nil && strings.EqualFold(ref.Schema, ownSchema) && strings.EqualFold(ref.Name, deletionsTable)
}

// deletions writes what retention removed of the topics that who asks may see.
func (q *run) deletions(n names) (t wire.Table, err error) {
	t = wire.Table{Topic: ownSchema + "." + deletionsTable, Deletions: true}
	var topics []string
	for _, x := range n.topics {
		topics = append(topics, x.topic)
	}
	list, err := q.e.deps.Deletions(q.ctx, topics)
	if err != nil {
		return t, storageError("reading what retention removed", err)
	}
	q.files++
	name := filepath.Join(q.dir, filesDir, "deletions.json")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return t, storageError("writing what retention removed", err)
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, d := range list {
		err = errors.Join(err, enc.Encode(d))
	}
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return t, storageError("writing what retention removed", err)
	}
	t.Parts = []wire.Part{{Files: []string{name}}}
	return t, nil
}
