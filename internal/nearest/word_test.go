package nearest

import "testing"

func TestOnlyNearWordsAreSuggested(t *testing.T) {
	known := []string{"config", "output", "server", "hot.flush"}
	for s, want := range map[string]string{"outptu": "output", "hot.flsh": "hot.flush", "srver": "server", "nosuch.flag": "", "x": "", "Hot.Flsh": "hot.flush"} {
		if got := Word(s, known); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
