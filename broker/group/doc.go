// Package group keeps what the broker knows of consumer and producer groups:
// their settings (Configs, durable), the clients that are in them now with
// their subscriptions (Registry, memory), and which client holds which queue of
// an ordered consumption (Locks, memory).
//
// A client's membership ends when it unregisters, when its connection ends, or
// when it hasn't been heard of for the expiry time. Every change of a consumer
// group's membership or subscriptions is told to all its members, so that they
// share out the queues anew.
//
// Lock order: Registry.mu and Locks.mu are leaves, never held together, nor
// while Configs is changed. Client methods are called with none of them held.
package group
