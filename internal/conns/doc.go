// Package conns bounds the connections of a port.
package conns
