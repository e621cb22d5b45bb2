package archive

import (
	"errors"
	"strings"
	"testing"

	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

func TestIdentity(t *testing.T) {
	bucket, other, empty := mem.New(), mem.New(), mem.New()
	a, err := Open(t.Context(), bucket, Options{})
	if err != nil {
		t.Fatal(err)
	}
	id := a.Identity()
	for _, want := range []string{"", id} {
		again, err := Open(t.Context(), bucket, Options{Identity: want})
		if err != nil || again.Identity() != id || id == "" {
			t.Errorf("opened again for %q: %v, %v", want, again, err)
		}
	}
	b, err := Open(t.Context(), other, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Open(t.Context(), other, Options{Identity: id}); !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), b.Identity()) {
		t.Errorf("another archive: %v", err)
	}
	if _, err = Open(t.Context(), empty, Options{Identity: id}); !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), id) {
		t.Errorf("no archive: %v", err)
	}
	for _, name := range []string{identityName, formatName} {
		if _, err := empty.Head(t.Context(), name); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("%s was made in the empty place: %v", name, err)
		}
	}
}
