package main

import (
	"context"
	"fmt"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	grpcTopic   = "bench_grpc"
	grpcGroup   = "bench_grpc_group"
	grpcSend    = "gRPC send 8×32"
	grpcReceive = "gRPC receive 8×8, 32 messages a call, an ack a message"
	popTopic    = "bench_pop"
	popGroup    = "bench_pop_group"
	popAck      = "POP 8×4 of a backlog, 32 messages each, an ack a message"
	popBacklog  = 60_000
	txnTopic    = "bench_transactions"
	txnGroup    = "bench_transactions_group"
	transacted  = "transactions 8×32: half and commit"
	// protocolWarm is for the compiler of the JVM; Varve gets the same.
	protocolWarm = 5.0
	// received is the part of a backlog that is received and timed: at its end
	// queues run dry one by one.
	received = 0.9
)

// protocolSession: what gRPC, POP and transactions take, beside the real
// broker with its proxy in the same process.
func protocolSession() session {
	return session{options: server.Options{HotOnly: true, GRPC: true}, cases: []benchCase{
		{name: "topics", run: protocolTopics},
		{name: "gRPC send, receive, ack", parts: []string{"grpc"}, run: warmed(func(ctx context.Context, s *subject, counts bool) error {
			return s.grpcRound(ctx, counts)
		})},
		{name: popAck, parts: []string{"pop"}, run: warmed(func(ctx context.Context, s *subject, counts bool) error {
			return s.popRound(ctx, counts)
		})},
		{name: transacted, parts: []string{"txn"}, run: warmed(func(ctx context.Context, s *subject, counts bool) error {
			return s.transactions(ctx, counts)
		})},
	}}
}

// warmed runs a case once more before its first round, without counting.
func warmed(run func(ctx context.Context, s *subject, counts bool) error) func(context.Context, *subject) error {
	return func(ctx context.Context, s *subject) error {
		if s.round == 0 {
			if err := run(ctx, s, false); err != nil {
				return fmt.Errorf("warming up: %w", err)
			}
		}
		return run(ctx, s, true)
	}
}

// secondsOf is how long a load runs.
func secondsOf(counts bool) float64 {
	if counts {
		return caseTime
	}
	return protocolWarm
}

func protocolBars() []bar {
	var all []bar
	for _, name := range []string{grpcSend, grpcReceive} {
		v, a := ofBoth(name, "msg/s")
		all = append(all, bar{what: name + ": rate", over: v, under: a, atLeast: 4, decimals: 2, unit: "×"})
	}
	for _, name := range []string{popAck, transacted} {
		v, a := ofBoth(name, "msg/s")
		all = append(all, bar{what: name + ": rate", over: v, under: a, atLeast: 2, decimals: 2, unit: "×"})
	}
	return all
}

func protocolTopics(ctx context.Context, s *subject) error {
	names := []string{grpcTopic, popTopic, txnTopic}
	if err := s.makeTopics(len(names), queues, func(i int) string { return names[i] }); err != nil {
		return err
	}
	for _, name := range []string{grpcGroup, popGroup} {
		if err := s.makeGroup(name); err != nil {
			return err
		}
	}
	// A group begins where a queue ends when it first asks.
	return s.grpcClient(1, 1).Begin(ctx)
}

func (s *subject) grpcClient(connections, window int) wire.ClientGRPC {
	return wire.ClientGRPC{Addr: s.Addrs.GRPC, Topic: grpcTopic, Group: grpcGroup, Broker: s.brokerName(), Connections: connections, Window: window}
}

// timed measures a load whose figures count, or only runs it.
func (s *subject) timed(name string, seconds float64, counts bool, f func() (*wire.Sent, error)) error {
	stop := func() {}
	if counts {
		stop = s.startProfile(name, s.seconds(seconds))
	}
	m, err := s.meter()
	if err != nil {
		return err
	}
	sent, err := f()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if sent.Refused > 0 {
		return fmt.Errorf("%s: %d requests were refused, the last with %q", name, sent.Refused, sent.Refusal)
	}
	if !counts {
		return nil
	}
	if sent.Latency.N() > 0 {
		s.latency(name, &sent.Latency)
	}
	err = s.done(m, name, sent.Messages, sent.Elapsed)
	stop()
	return err
}

// grpcRound sends for a while, receives what it sent and acks it.
func (s *subject) grpcRound(ctx context.Context, counts bool) error {
	seconds := secondsOf(counts)
	var backlog int64
	err := s.timed(grpcSend, seconds, counts, func() (*wire.Sent, error) {
		sent, err := s.grpcClient(8, 32).SendGRPC(ctx, s.seconds(seconds), s.corpus, &s.serial)
		if err == nil {
			backlog = int64(float64(sent.Messages) * received)
		}
		return sent, err
	})
	if err != nil {
		return err
	}
	return s.timed(grpcReceive, 1, counts, func() (*wire.Sent, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return s.grpcClient(8, 8).ReceiveAndAck(ctx, backlog, pullBatch)
	})
}

// popRound pops and acks a backlog that it sends first.
func (s *subject) popRound(ctx context.Context, counts bool) error {
	l := s.load(shape{8, 32, 0})
	l.Topic, l.Messages = popTopic, s.count(popBacklog)
	if _, err := l.Run(ctx); err != nil {
		return err
	}
	return s.timed(popAck, 1, counts, func() (*wire.Sent, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return wire.Pops{
			Addr: s.Addrs.Broker, Topic: popTopic, Group: popGroup, Broker: s.brokerName(),
			Connections: 8, Window: 4, Batch: pullBatch, Messages: int64(float64(l.Messages) * received),
		}.Run(ctx)
	})
}

func (s *subject) transactions(ctx context.Context, counts bool) error {
	seconds := secondsOf(counts)
	l := s.load(shape{8, 32, 0})
	l.Topic, l.Limit = txnTopic, s.seconds(seconds)
	return s.timed(transacted, seconds, counts, func() (*wire.Sent, error) { return l.RunTransactions(ctx, txnGroup) })
}
