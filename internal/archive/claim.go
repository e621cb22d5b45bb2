package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"varve/internal/objstore"
)

// Claim says which data directory a broker group's archive belongs to from a
// generation on. A restore makes the next one; whoever has an earlier one is the
// past, and archives nothing any more.
type Claim struct {
	Generation int64     `json:"generation"` // dense from 1
	Writer     string    `json:"writer"`     // the data directory's own id
	At         time.Time `json:"at"`
	Host       string    `json:"host,omitempty"`
	Reason     string    `json:"reason,omitempty"`
}

// ErrClaimed says that a broker group's archive belongs to another data
// directory. It is an ErrFenced too.
var ErrClaimed = fmt.Errorf("the archive belongs to another data directory of the broker group: %w", ErrFenced)

func claimName(broker string, generation int64) string {
	return fmt.Sprintf("%sclaims/%s/%06d.json", ownPrefix, encodeName(broker), generation)
}

// Claimed gives the newest claim of a broker group from a known generation on,
// nil where there is none from there. It goes up one by one, not by a listing.
func (a *Archive) Claimed(ctx context.Context, broker string, from int64) (*Claim, error) {
	if err := a.ready(ctx); err != nil {
		return nil, err
	}
	var newest *Claim
	for n := max(from, 1); ; n++ {
		c, err := a.claim(ctx, broker, n)
		if errors.Is(err, objstore.ErrNotFound) {
			return newest, nil
		}
		if err != nil {
			return nil, fmt.Errorf("whose the archive of %s is: %w", broker, err)
		}
		newest = c
	}
}

func (a *Archive) claim(ctx context.Context, broker string, generation int64) (*Claim, error) {
	name := claimName(broker, generation)
	data, err := getObject(ctx, a.bucket, name, 1<<12)
	if err != nil {
		return nil, err
	}
	c := &Claim{}
	if err := json.Unmarshal(data, c); err != nil || c.Generation != generation || c.Writer == "" {
		return nil, fmt.Errorf("%s is no claim (%v)", name, err)
	}
	return c, nil
}

// Claim makes the broker group's next claim, of generation c.Generation, which
// must be the first that is free: ErrClaimed where another data directory was
// faster. To repeat one's own is no error.
func (a *Archive) Claim(ctx context.Context, broker string, c Claim) error {
	fail := func(err error) error {
		return fmt.Errorf("claim the archive of %s, generation %d: %w", broker, c.Generation, err)
	}
	if err := a.Check(ctx); err != nil {
		return fail(err)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return fail(err)
	}
	err = putObject(ctx, a.bucket, claimName(broker, c.Generation), data)
	if err == nil {
		return nil
	}
	if !errors.Is(err, objstore.ErrExists) {
		return fail(err)
	}
	have, err := a.claim(ctx, broker, c.Generation)
	if err != nil {
		return fail(err)
	}
	if have.Writer != c.Writer {
		return fail(fmt.Errorf("%w: %s", ErrClaimed, have))
	}
	return nil
}

// CheckClaim reports whether a data directory still has the newest claim:
// ErrClaimed where a later one was made, or another made the same.
func (a *Archive) CheckClaim(ctx context.Context, broker, writer string, generation int64) error {
	c, err := a.Claimed(ctx, broker, generation)
	switch {
	case err != nil:
		return err
	case c != nil && (c.Generation > generation || c.Writer != writer):
		return fmt.Errorf("broker group %s: %w: %s", broker, ErrClaimed, c)
	}
	return nil
}

func (c *Claim) String() string {
	s := fmt.Sprintf("generation %d, data directory %s, since %s", c.Generation, c.Writer, c.At.UTC().Format(time.RFC3339))
	if c.Host != "" {
		s += " on " + c.Host
	}
	if c.Reason != "" {
		s += " (" + c.Reason + ")"
	}
	return s
}
