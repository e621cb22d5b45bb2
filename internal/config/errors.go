package config

import (
	"fmt"

	"varve/internal/nearest"
)

// Error is a setting that can't be used.
type Error struct {
	Key    string
	Source string // "" where it is a default
	Reason string
	Near   string // the known key nearest to an unknown one
}

func (e *Error) Error() string {
	s := e.Key + ": " + e.Reason
	if e.Near != "" {
		s += fmt.Sprintf("; did you mean %q?", e.Near)
	}
	if e.Source != "" {
		s += " (from " + e.Source + ")"
	}
	return s
}

func unknown(source, key string, known []string) error {
	return &Error{Key: key, Source: source, Reason: "unknown setting", Near: nearest.Word(key, known)}
}
