package audit

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/objstore"
)

// sharedObject puts an object of two queues into the bucket that no table names.
func sharedObject(t *testing.T, e *env, from, to int64) string {
	t.Helper()
	var buf bytes.Buffer
	w := archive.NewSharedWriter(&buf, archive.FileOptions{Epoch: 1})
	for id := range int32(2) {
		data, f := encodeWith(t, queue(id), messages(queue(id), from, to), archive.FileOptions{})
		f.Name = "one"
		e.put(f.Name, data, objstore.Always)
		file, err := archive.OpenFile(t.Context(), e.b, f)
		if err == nil {
			err = w.Section(queue(id))
		}
		if err == nil {
			err = file.Audit(t.Context(), func(row *archive.AuditedRow) error { return w.Add(row.Record) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	e.delete("one")
	made, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	name := archive.SharedName(broker, e.tbl.Root(), 0, made[0].Section.Rows, 1)
	e.put(name, buf.Bytes(), objstore.IfAbsent)
	return name
}

// TestStrays: objects that no snapshot needs are told once they are old, and
// those of offsets that the table hasn't yet are a doubt, of shared objects too.
func TestStrays(t *testing.T) {
	e := fill(t)
	later := Options{Now: func() time.Time { return time.Now().Add(strayAge + time.Hour) }}
	before := e.audit(later)
	had := 0
	for _, l := range before.Leftover {
		had += l.Objects
	}
	next := e.tbl.Snapshot().Next[queue(0)]
	name := sharedObject(t, e, next-3, next)
	manifest := e.tbl.Root() + "/metadata/0b1c-m0.avro"
	e.put(manifest, []byte("a manifest of a lost race"), objstore.IfAbsent)
	half := strings.Replace(name, "shared/0", "shared/1", 1)
	e.put(half, []byte("half of an object"), objstore.IfAbsent)
	if rep := e.audit(Options{}); !rep.OK || rep.Leftover != nil {
		t.Errorf("young ones: %+v, %+v", rep.Doubts, rep.Leftover)
	}
	rep := e.audit(later)
	if !rep.OK || len(rep.Leftover) != 1 || rep.Leftover[0].Objects != had+3 || !strings.Contains(strings.Join(rep.Leftover[0].Names, " "), name) {
		t.Errorf("%+v, %+v", rep.Doubts, rep.Leftover)
	}
	beyond := sharedObject(t, e, next, next+2)
	rep = e.audit(later)
	if rep.OK || len(rep.Doubts) != 1 || rep.Doubts[0].File != beyond || rep.Doubts[0].To != next+2 {
		t.Errorf("%+v", rep.Doubts)
	}
}
