package archive

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
	"varve/internal/proof"
)

// mixedRecords are of every kind that a file hashes in its own way: inflated,
// larger than what an audit reads at once, without properties, and ordinary.
func mixedRecords(t *testing.T, n int64) []mq.Record {
	recs := testRecords(testQueue, mq.Range{From: 0, To: n})
	for i := range recs {
		m, err := recs[i].Decode()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case i%50 == 7:
			m.Body = compressed(t, encodingZlib, bytes.Repeat(m.Body, 20))
			m.SysFlag |= mq.SysCompressed
		case i%200 == 11:
			m.Body = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, auditBytes)
		case i%30 == 3:
			m.Properties = nil
		case i%30 == 4:
			m.Properties = mq.AppendProperty(nil, mq.PropKeys, "a b\u2003c ")
		case i%30 == 5:
			m.Body = nil
		}
		recs[i] = mq.AppendRecord(nil, &m)
	}
	return recs
}

// TestAuditedRows compares what an audit shows with what readers get, and the
// leaves that it makes many at a time with those made one by one.
func TestAuditedRows(t *testing.T) {
	b := mem.New()
	recs := mixedRecords(t, 1000)
	f := writeFile(t, b, testQueue, FileOptions{RowGroupRows: 300}, recs...)
	open := func(f DataFile) *File {
		file, err := OpenFile(t.Context(), b, f)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	var again bytes.Buffer
	erased, rows, err := open(f).Erase(t.Context(), &again, FileOptions{RowGroupRows: 300}, "gone", func(off int64) bool { return off%70 == 1 })
	if err != nil || len(rows) == 0 {
		t.Fatal(rows, err)
	}
	erased.Name = "erased"
	putBytes(t, b, erased.Name, again.Bytes())
	for _, f := range []DataFile{f, erased} {
		file := open(f)
		served := mqRecords(readAll(t, file, mq.Limit{}))
		var tree proof.Builder
		at := int64(0)
		if err := file.Audit(t.Context(), func(row *AuditedRow) error {
			var one proof.Hasher
			r := served[at]
			leaf := one.Leaf(r.Parts())
			if row.Offset != at || !bytes.Equal(row.Record, r) || row.Leaf != leaf || row.Wrong != "" {
				return fmt.Errorf("row %d at %d: wrong %q, leaf %x, want %x", row.Offset, at, row.Wrong, row.Leaf, leaf)
			}
			m, err := r.Decode()
			if id := m.Property(mq.PropUniqKey); err != nil || id != "" && row.MsgID() != id {
				return fmt.Errorf("row %d is of message %s, want %s: %w", at, row.MsgID(), id, err)
			}
			if inflated := at%50 == 7 && row.Erased == nil; string(row.encoding) != map[bool]string{true: encodingZlib}[inflated] {
				return fmt.Errorf("row %d has encoding %q", at, row.encoding)
			}
			if row.Erased != nil {
				leaf = *row.Erased
			}
			tree.Add(at, leaf)
			at++
			return nil
		}); err != nil || at != 1000 {
			t.Fatalf("%s, after %d rows: %v", f.Name, at, err)
		}
		if string(tree.Parts().Encode()) != f.Hashes {
			t.Errorf("%s: its hashes are not those of its rows", f.Name)
		}
	}
}

// TestAnAuditShowsWhatIsBeforeDamage: the rows before a page that can't be read
// are shown, and no other.
func TestAnAuditShowsWhatIsBeforeDamage(t *testing.T) {
	b := mem.New()
	var recs []mq.Record
	for off := range int64(1000) {
		m, err := testRecord(testQueue, off).Decode()
		if err != nil {
			t.Fatal(err)
		}
		m.Body = bytes.Repeat(m.Body, 30)
		recs = append(recs, mq.AppendRecord(nil, &m))
	}
	f := writeFile(t, b, testQueue, FileOptions{}, recs...)
	file, err := OpenFile(t.Context(), b, f)
	if err != nil {
		t.Fatal(err)
	}
	pages := file.groups[0].pages[colBody]
	first := pages.FirstRowIndex(2)
	if first%auditRows == 0 {
		t.Fatalf("the page begins at row %d, which shows nothing", first)
	}
	data, err := getObject(t.Context(), b, f.Name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	data[pages.Offset(2)+pages.CompressedPageSize(2)-1] ^= 1
	replace(t, b, f.Name, data)
	var shown int64
	err = file.Audit(t.Context(), func(*AuditedRow) error { shown++; return nil })
	if !errors.Is(err, ErrDamaged) || shown != first {
		t.Errorf("%d rows, then %v; want %d and ErrDamaged", shown, err, first)
	}
}

// TestEvenPages compares the place of each row where all have as many values with
// what going over the levels gives.
func TestEvenPages(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var even int
	for range 500 {
		list, odd, most := rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(4)
		rows := 1 + rng.IntN(20)
		c := &column{to: int64(rows)}
		for range rows {
			n := most
			if odd {
				n = rng.IntN(4)
			}
			if !list {
				n = min(n, 1)
			}
			for i := range max(n, 1) {
				c.def, c.rep = append(c.def, byte(min(n, 1))), append(c.rep, byte(min(i, 1)))
			}
		}
		if !list {
			c.rep = nil
		}
		c.values = c.count()
		slow := *c
		if c.even = c.same(); c.even {
			even++
		}
		for _, row := range rng.Perm(rows) {
			if err := errors.Join(c.seek(int64(row)), slow.seek(int64(row))); err != nil {
				t.Fatal(err)
			}
			if c.values != slow.values || c.values > 0 && c.value != slow.value {
				t.Fatalf("row %d of %v %v: %d values at %d, want %d at %d", row, c.rep, c.def, c.values, c.value, slow.values, slow.value)
			}
		}
		if want := !slices.ContainsFunc(c.def, func(d byte) bool { return d != c.def[0] }); !list && c.even != want {
			t.Fatalf("%v: even is %v", c.def, c.even)
		}
	}
	if even < 100 || even > 450 {
		t.Fatalf("%d of 500 pages were even", even)
	}
}
