package connector

import "time"

// rollRule decides by age when a segment is rolled. It is pure.
type rollRule struct {
	age, ageMax    time.Duration
	small          int64 // bytes below which a segment waits longer
	filesPerSecond int
}

// wait is how long a segment of some length waits for more, while open
// segments are open in all.
func (r rollRule) wait(bytes int64, open int) time.Duration {
	w := r.age
	if bytes < r.small {
		w = r.ageMax
		if f := float64(r.age) * float64(r.small) / float64(max(bytes, 1)); f < float64(r.ageMax) {
			w = time.Duration(f)
		}
	}
	return max(w, time.Duration(open)*time.Second/time.Duration(r.filesPerSecond))
}

// due reports whether a segment's wait is over. One that joins others of its
// topic, which are committed anyway, waits half as long.
func (r rollRule) due(bytes int64, age time.Duration, open int, joins bool) bool {
	w := r.wait(bytes, open)
	if joins {
		w /= 2
	}
	return age >= w
}
