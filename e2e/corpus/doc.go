// Package corpus makes the message bodies of the benchmark: orders as JSON,
// half regular and half random as such data is, every one different and of
// exactly the asked size. The same seed gives the same bodies to every broker.
package corpus
