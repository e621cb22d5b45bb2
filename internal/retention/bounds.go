package retention

import "varve/internal/units"

// Duration and Bytes are bounds as people write them: "90d", "500GiB". Zero is
// no bound.
type (
	Duration = units.Duration
	Bytes    = units.Bytes
)
