package refusal

import (
	"errors"
	"fmt"
)

// Error is a refusal with a code that no error of the core stands for.
type Error[C any] struct {
	Code C
	Text string
}

func (e *Error[C]) Error() string { return e.Text }

// New makes a refusal with a code of its own.
func New[C any](code C, format string, args ...any) error {
	return &Error[C]{code, fmt.Sprintf(format, args...)}
}

// Codes maps errors to codes; the first that an error wraps decides.
type Codes[C any] []struct {
	Err  error
	Code C
}

// Of is the code of an error, and other where neither it nor the table has one.
func (t Codes[C]) Of(err error, other C) C {
	var own *Error[C]
	if errors.As(err, &own) {
		return own.Code
	}
	for i := range t {
		if errors.Is(err, t[i].Err) {
			return t[i].Code
		}
	}
	return other
}
