package dbcheck

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Explain says of an error of Pebble that is damage which file has it, in one
// line; any other error is passed on as it is.
func Explain(err error) error {
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return fmt.Errorf("%s is %w: %w", info.Path, ErrDamaged, info.Details)
	}
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("a file is %w: %w", ErrDamaged, err)
	}
	return err
}
