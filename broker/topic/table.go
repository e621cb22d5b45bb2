package topic

import (
	"sync"
	"sync/atomic"

	"varve/internal/meta"
)

// Table is the set of topics. A Config in it is never changed: a change
// replaces it.
type Table struct {
	*meta.Settings[Config]
	version atomic.Int64

	mu       sync.Mutex
	onChange []func()
}

// Load reads the topics of a meta store.
func Load(s *meta.Store) (*Table, error) {
	t := &Table{}
	var err error
	t.Settings, err = meta.LoadSettings(s, meta.SettingsOf[Config]{
		What:    "topic",
		Name:    func(c *Config) string { return c.Name },
		New:     func(string) Config { return Config{} },
		Check:   (*Config).Check,
		Clone:   (*Config).clone,
		Equal:   (*Config).equal,
		Changed: t.changed,
	})
	return t, err
}

// Version grows with every change since the start.
func (t *Table) Version() int64 { return t.version.Load() }

// OnChange calls fn after every change. fn must return quickly and must not
// change the table.
func (t *Table) OnChange(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onChange = append(t.onChange, fn)
}

func (t *Table) changed() {
	t.version.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, fn := range t.onChange {
		fn()
	}
}
