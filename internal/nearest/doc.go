// Package nearest finds the word that somebody meant who typed another: a
// setting, a flag, a topic. Pure.
package nearest
