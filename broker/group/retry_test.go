package group

import (
	"math"
	"testing"
	"time"
)

func TestDelaysGrowToTheLongestAndNoFurther(t *testing.T) {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct {
		policy  RetryPolicy
		retries int32
		want    time.Duration
	}{
		{RetryPolicy{Type: Exponential}, -1, ms(5000)},
		{RetryPolicy{Type: Exponential}, 10, ms(5000 << 10)},
		{RetryPolicy{Type: Exponential}, math.MaxInt32, 2 * time.Hour},
		{RetryPolicy{Type: Exponential, Exponential: &ExponentialPolicy{InitialMillis: 10, MaxMillis: 5, Multiplier: 3}}, 0, ms(5)},
		{RetryPolicy{Type: Exponential, Exponential: &ExponentialPolicy{InitialMillis: 10, Multiplier: 1}}, math.MaxInt32, ms(10)},
		{RetryPolicy{Type: Exponential, Exponential: &ExponentialPolicy{InitialMillis: maxDelayMillis, MaxMillis: maxDelayMillis, Multiplier: maxDelayMillis}}, 9, ms(maxDelayMillis)},
		{RetryPolicy{Type: Customized, Customized: &CustomizedPolicy{NextMillis: []int64{1, 2}}}, 0, ms(1)},
		{RetryPolicy{Type: Customized, Customized: &CustomizedPolicy{NextMillis: []int64{1, 2}}}, 9, ms(2)},
	} {
		if err := c.policy.check(); err != nil {
			t.Errorf("%+v: %v", c.policy, err)
		}
		if got := c.policy.Delay(c.retries); got != c.want {
			t.Errorf("%+v after %d retries: %v, want %v", c.policy, c.retries, got, c.want)
		}
	}
	for _, p := range []RetryPolicy{{}, {Type: Customized}, {Type: Customized, Customized: &CustomizedPolicy{}}} {
		if p.Own() {
			t.Errorf("%+v counts as the group's own", p)
		}
	}
}
