// Package route answers RocketMQ's name-server protocol: who serves a topic.
//
// A Table knows members: brokers and history nodes, each a (cluster, broker
// group, id) with an address. A broker in the same process joins with Join
// and is asked for its topics at every query, so that a topic is in the route
// the moment it exists. Others register over the network (code 103) and are
// forgotten when they unregister, when their connection ends, or when they
// say nothing for their heartbeat timeout.
//
// Topics of a broker group are those of its member with the lowest id that
// brought any: the leader, as long as there is one. History nodes bring none.
//
// Locks: Table.mu guards the members; topic sources are asked without it.
package route
