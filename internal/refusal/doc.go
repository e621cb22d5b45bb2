// Package refusal gives an error the code that a protocol answers it with: by
// the error of the core that it wraps, or of its own.
package refusal
