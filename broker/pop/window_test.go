package pop

import "testing"

// A window is as large as what is in flight, however far it goes on behind its
// oldest message.
func TestAWindowKeepsNothingOfWhatIsDone(t *testing.T) {
	const span, batch = 2_000_000, 1000
	s := &Store{o: Options{QueueLimit: 2 * batch, GroupLimit: 2 * batch, Commit: func(Key, int64) {}}, wake: make(chan struct{}, 1)}
	w := &Window{store: s, group: &group{}, wake: never}
	w.Start(0)
	most := 0
	for at := int64(0); at < span; at += batch {
		if room := w.Room(); room < batch {
			t.Fatalf("room for %d at %d", room, at)
		}
		for off := at; off < at+batch; off++ {
			w.Give(off, 1, never, false)
		}
		for off := at; off < at+batch; off++ {
			if off == 0 || off == span/2 {
				continue
			}
			if e := w.find(off); e == nil || e.state != live {
				t.Fatalf("message %d is lost", off)
			} else {
				s.ack(w, e)
			}
		}
		most = max(most, cap(w.entries))
	}
	if most > 8*batch {
		t.Errorf("%d entries for at most %d in flight", most, batch)
	}
	if w.Base() != 0 || w.Next() != span {
		t.Errorf("base %d, next %d", w.Base(), w.Next())
	}
	s.ack(w, w.find(0))
	if w.Base() != span/2 {
		t.Errorf("base %d with the first one acked", w.Base())
	}
	s.ack(w, w.find(span/2))
	if w.Base() != span || len(w.entries) != 0 {
		t.Errorf("base %d with %d entries at the end", w.Base(), len(w.entries))
	}
}
