package group

import (
	"fmt"
	"time"
)

// Types of a RetryPolicy.
const (
	Exponential = "EXPONENTIAL"
	Customized  = "CUSTOMIZED"
)

// What an exponential policy has where it doesn't say, as in RocketMQ.
const (
	defaultInitialMillis = 5000
	defaultMaxMillis     = 2 * 3600 * 1000
	defaultMultiplier    = 2
)

// maxDelays bounds the list of a customized policy.
const maxDelays = 256

// RetryPolicy says after which delays a message is delivered again. The JSON
// is RocketMQ's.
type RetryPolicy struct {
	Type        string             `json:"type"` // Exponential or Customized
	Exponential *ExponentialPolicy `json:"exponentialRetryPolicy,omitempty"`
	Customized  *CustomizedPolicy  `json:"customizedRetryPolicy,omitempty"`
}

// ExponentialPolicy multiplies the delay with each attempt. What is 0 has its
// default.
type ExponentialPolicy struct {
	InitialMillis int64 `json:"initial"`
	MaxMillis     int64 `json:"max"`
	Multiplier    int64 `json:"multiplier"`
}

// CustomizedPolicy lists the delay of each attempt; the last one repeats.
type CustomizedPolicy struct {
	NextMillis []int64 `json:"next"`
}

// Own reports whether the group was given delays; else those of the delay
// levels count.
func (p *RetryPolicy) Own() bool {
	return p.Type == Exponential || p.Customized != nil && len(p.Customized.NextMillis) > 0
}

// Growth is the policy of one that is exponential, defaults filled in.
func (p *RetryPolicy) Growth() ExponentialPolicy {
	e := ExponentialPolicy{InitialMillis: defaultInitialMillis, MaxMillis: defaultMaxMillis, Multiplier: defaultMultiplier}
	if own := p.Exponential; own != nil {
		for _, v := range []struct{ from, to *int64 }{
			{&own.InitialMillis, &e.InitialMillis}, {&own.MaxMillis, &e.MaxMillis}, {&own.Multiplier, &e.Multiplier},
		} {
			if *v.from > 0 {
				*v.to = *v.from
			}
		}
	}
	return e
}

// Delay is the time from a delivery that failed to the next, after so many
// retries. It is for a policy that is the group's own.
func (p *RetryPolicy) Delay(retries int32) time.Duration {
	retries = max(retries, 0)
	if p.Type != Exponential {
		next := p.Customized.NextMillis
		return time.Duration(next[min(int(retries), len(next)-1)]) * time.Millisecond
	}
	e := p.Growth()
	ms := min(e.InitialMillis, e.MaxMillis)
	for ; retries > 0 && e.Multiplier > 1 && ms < e.MaxMillis; retries-- {
		if ms > e.MaxMillis/e.Multiplier {
			ms = e.MaxMillis
			break
		}
		ms *= e.Multiplier
	}
	return time.Duration(ms) * time.Millisecond
}

// maxDelayMillis bounds each delay, so that sums and products of them are
// numbers: 100 years.
const maxDelayMillis = 100 * 365 * 24 * 3600 * 1000

func (p *RetryPolicy) check() error {
	switch p.Type {
	case Exponential, Customized, "":
	default:
		return fmt.Errorf("retry policy of type %q, want %s or %s", p.Type, Exponential, Customized)
	}
	if e := p.Exponential; e != nil {
		for _, v := range []int64{e.InitialMillis, e.MaxMillis, e.Multiplier} {
			if v < 0 || v > maxDelayMillis {
				return fmt.Errorf("retry policy from %d ms to %d ms by %d, want none of them negative or over %d", e.InitialMillis, e.MaxMillis, e.Multiplier, int64(maxDelayMillis))
			}
		}
	}
	if c := p.Customized; c != nil {
		if len(c.NextMillis) > maxDelays {
			return fmt.Errorf("retry policy with %d delays, want at most %d", len(c.NextMillis), maxDelays)
		}
		for i, v := range c.NextMillis {
			if v < 0 || v > maxDelayMillis {
				return fmt.Errorf("retry policy: delay %d is %d ms, want 0 to %d", i+1, v, int64(maxDelayMillis))
			}
		}
	}
	return nil
}
