// Package lint holds the project's own rules as a Go test: which folder may
// import which, sizes of files and functions, package docs and comments on what
// is exported, where files may be opened, which packages may not ask for the
// time, words that don't land, and that every anchor of docs/paths.md exists.
//
// The rules fail closed: a folder that the import table doesn't list is a
// finding, and testdata/bad holds a tree that breaks every rule, so that a rule
// that stops firing is noticed.
package lint
