// Package mq asks for the time.
package mq
