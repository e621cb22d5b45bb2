// Package mq asks for the time.
package mq

import "time"

var started = time.Now()
