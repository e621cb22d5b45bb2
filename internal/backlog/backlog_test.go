package backlog_test

import (
	"testing"

	"varve/internal/backlog"
)

func TestManyWhoDontReadHaveLittleEach(t *testing.T) {
	all := backlog.New(1 << 20)
	slow, other := all.Conn(), all.Conn()
	if got := slow.Room(4 << 20); got != 4<<20 {
		t.Fatalf("room of the first: %d", got)
	}
	freed := false
	free := slow.Carry(2<<20, func() { freed = true })
	if got := slow.Room(4 << 20); got != 0 {
		t.Errorf("room of who has taken nothing of too much: %d", got)
	}
	if got := other.Room(4 << 20); got != backlog.Cramped {
		t.Errorf("room of another: %d", got)
	}
	other.Add(backlog.Cramped - 10)
	if got := other.Room(4 << 20); got != 10 {
		t.Errorf("room of another that has some: %d", got)
	}
	free()
	if !freed || slow.Bytes() != 0 || all.Bytes() != backlog.Cramped-10 {
		t.Errorf("freed %v, its %d, all %d", freed, slow.Bytes(), all.Bytes())
	}
	if got := slow.Room(4 << 20); got != 4<<20 {
		t.Errorf("room when it has read: %d", got)
	}
	var none *backlog.Conn
	none.Add(5)
	none.Carry(5, nil)
	if got := none.Room(7); got != 7 {
		t.Errorf("room of what isn't counted: %d", got)
	}
}
