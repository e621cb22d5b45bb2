package config

import "testing"

// A section named as a setting, or misspelt, is told from an unknown setting.
func TestUnknownSettingNamesWhatIsNear(t *testing.T) {
	known := []string{"hot.flush", "hot.segment", "history.cache"}
	for key, want := range map[string]string{
		"hot":      "hot: unknown setting: it is a section, of which hot.flush is one (from f)",
		"hott":     `hott: unknown setting; did you mean "hot"? (from f)`,
		"hot.flsh": `hot.flsh: unknown setting; did you mean "hot.flush"? (from f)`,
		"x":        "x: unknown setting (from f)",
	} {
		if got := unknown("f", key, known).Error(); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}
