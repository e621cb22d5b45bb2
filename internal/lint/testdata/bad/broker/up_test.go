package broker

import _ "bad/cmd/varve"
