package refusal

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestAnErrorsCodeIsItsOwnThenTheTables(t *testing.T) {
	table := Codes[int]{{io.EOF, 1}, {io.ErrUnexpectedEOF, 2}}
	for _, c := range []struct {
		err  error
		want int
	}{
		{io.EOF, 1},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), 2},
		{errors.Join(io.ErrUnexpectedEOF, io.EOF), 1},
		{fmt.Errorf("%w: %w", io.EOF, New(7, "no %s", "room")), 7},
		{New("another front's", "x"), 9},
		{io.ErrClosedPipe, 9},
	} {
		if got := table.Of(c.err, 9); got != c.want {
			t.Errorf("%v: code %d, want %d", c.err, got, c.want)
		}
	}
	if text := New(7, "no %s", "room").Error(); text != "no room" {
		t.Errorf("text %q", text)
	}
}
