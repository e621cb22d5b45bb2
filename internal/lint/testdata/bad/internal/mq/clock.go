package mq

import "time"

var Started = time.Now()
