package config

import (
	"fmt"
	"strings"

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
	var sections []string
	for _, k := range known {
		if s, _, ok := strings.Cut(k, "."); ok {
			sections = append(sections, s)
		}
		if strings.HasPrefix(k, key+".") {
			return &Error{Key: key, Source: source, Reason: "unknown setting: it is a section, of which " + k + " is one"}
		}
	}
	if near := nearest.Word(key, sections); near != "" && nearest.Word(key, known) == "" {
		return &Error{Key: key, Source: source, Reason: "unknown setting", Near: near}
	}
	return &Error{Key: key, Source: source, Reason: "unknown setting", Near: nearest.Word(key, known)}
}
