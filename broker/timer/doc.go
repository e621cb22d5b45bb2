// Package timer holds messages back until they are due.
package timer
