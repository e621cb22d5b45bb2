// Package config is the settings of a Varve process: defaults in one struct a
// component, then one YAML file, then VARVE_ environment variables, then
// flags; the later wins.
//
// A key is the same word everywhere: hot.flush in the file, VARVE_HOT_FLUSH in
// the environment, --hot.flush as a flag. A key that nobody knows is an error
// that names the nearest known one; a value that can't work is an error that
// names the key and the reason. Every effective value remembers its source.
package config
