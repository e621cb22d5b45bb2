// Package server starts the brokers that the interop run and the benchmark
// talk to: the real Apache RocketMQ from its Maven jars, and Varve from its
// binary. Both listen on loopback only, keep everything they write under one
// folder, and are watched as processes from outside: CPU, memory, disk.
//
// How Varve is configured is written in varve.go and nowhere else.
package server
