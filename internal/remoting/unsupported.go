package remoting

import "fmt"

// Why a request of RocketMQ's has no meaning here.
const (
	noController = "leaders are fixed by deployment and never elected: there is no controller"
	noContainer  = "one process is one broker: there is no container to add brokers to"
	noStatic     = "queues stay where they are: there are no static topics to map or remap"
	noColdLimits = "cold reads have budgets of their own, see history.* and broker.* in the settings: there are no limits by group"
	noRocksDB    = "queue indexes and settings are not kept in RocksDB"
	noFilterSrv  = "there are no filter servers; filter by tag or by SQL92"
	noSlaveSync  = "followers are sent the log itself, and no tables"
	noRollback   = "what POP consumers have in flight has one form: there is nothing to turn back to"
	noLite       = "there are no lite topics: queues are cheap here, make ordinary topics"
	noListDelete = "topics and groups are deleted one at a time (requests 215 and 207)"
	noSuchClient = "no client sends this any more"
)

// unsupported says of known requests why they are not taken.
var unsupported = map[int]string{
	13: noSuchClient, 22: noSuchClient, 23: noSuchClient, 27: noSuchClient, 47: noSuchClient,
	45: noSlaveSync, 60: noSlaveSync, 61: noSlaveSync,
	209: noSuchClient, 210: noSuchClient, 211: noSuchClient, 212: noSuchClient, 213: noSuchClient, 214: noSuchClient,
	217: "a topic belongs to brokers: create it there (request 17)",
	301: noFilterSrv, 302: noFilterSrv,
	318: "the name server takes its settings from its configuration only",
	354: noRocksDB, 355: noRocksDB,
	513: noStatic,
	902: noContainer, 903: noContainer,
	905: noController, 906: noController, 908: noController,
	1001: noController, 1002: noController, 1003: noController, 1004: noController, 1005: noController, 1006: noController,
	1007: noController, 1008: noController, 1009: noController, 1010: noController, 1011: noController, 1012: noController,
	1013: noController,
	2001: noColdLimits, 2002: noColdLimits, 2003: noColdLimits,
	2004:                    "the log is read as it is needed: its read-ahead is not set from outside",
	PopRollback & shortMask: noRollback,
	200070 & shortMask:      noLite, 200071 & shortMask: noLite, 200072 & shortMask: noLite, 200073 & shortMask: noLite,
	200074 & shortMask: noLite, 200075 & shortMask: noLite, 200076 & shortMask: noLite, 200077 & shortMask: noLite,
	200078 & shortMask: noLite, 200079 & shortMask: noLite,
	5001: "there is one timer engine", 5002: noListDelete, 5003: noListDelete,
}

// Unsupported says why a known request has no meaning here; false where it is
// not one of those.
func Unsupported(code int) (why string, known bool) {
	why, known = unsupported[code]
	return why, known
}

// NotSupported is the remark of an answer with RequestCodeNotSupported.
func NotSupported(code int) string {
	if why, known := unsupported[Short(code)]; known {
		return fmt.Sprintf("request type %d not supported: %s", code, why)
	}
	return fmt.Sprintf("request type %d not supported", code)
}
