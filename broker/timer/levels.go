package timer

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DefaultLevels are RocketMQ's delay levels.
const DefaultLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

// MaxLevels bounds the number of delay levels.
const MaxLevels = 64

// ParseLevels reads delay levels: numbers with the unit s, m, h or d, parted by
// spaces. Level 1 is the first.
func ParseLevels(text string) ([]time.Duration, error) {
	words := strings.Fields(text)
	if len(words) == 0 || len(words) > MaxLevels {
		return nil, fmt.Errorf("delay levels %q: %d levels, want 1 to %d", text, len(words), MaxLevels)
	}
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	out := make([]time.Duration, len(words))
	for i, w := range words {
		unit, ok := units[w[len(w)-1]]
		n, err := strconv.ParseInt(w[:len(w)-1], 10, 32)
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("delay level %d is %q, want a number and s, m, h or d", i+1, w)
		}
		out[i] = time.Duration(n) * unit
	}
	return out, nil
}

// Delay is the delay of a level; one that is too high is the highest.
func (s *Store) Delay(level int) time.Duration {
	return s.o.Levels[min(max(level, 1), len(s.o.Levels))-1]
}
