package remoting_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"varve/broker"
	wire "varve/internal/remoting"
)

// cpuTime is the processor time of this process: server and driver.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU reports the processor time of f for each of n operations.
func reportCPU(b *testing.B, n int, f func()) {
	start, cpu := time.Now(), cpuTime()
	f()
	b.ReportMetric(float64(cpuTime()-cpu)/float64(n), "cpu-ns/msg")
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "msg/s")
}

func sendRequest(topic string, queue, body int, s wire.Serializer) []byte {
	cmd := wire.NewRequest(wire.SendMessageV2, "a", "bench", "b", topic, "c", "TBW102", "d", "4", "e", fmt.Sprint(queue),
		"f", "0", "g", "1700000000000", "h", "0", "i", "UNIQ_KEY\x01AC1100010A2318B4AAC24D8C5F350000\x02TAGS\x01tag-a\x02WAIT\x01true\x02",
		"j", "0", "k", "false", "m", "false", "n", "varve-a")
	cmd.Serializer, cmd.Body = s, make([]byte, body)
	return wire.AppendFrame(nil, cmd)
}

// readReplies reads n replies and gives the code of the last.
func readReplies(r *bufio.Reader, n int) error {
	var head [4]byte
	for range n {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(head[:]))); err != nil {
			return err
		}
	}
	return nil
}

// pipeline sends count frames over one connection, window of them at a time,
// and waits for as many replies.
func pipeline(b *testing.B, addr string, frame []byte, count, window int) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer nc.Close()
	burst := max(window/4, 1)
	var many []byte
	for range burst {
		many = append(many, frame...)
	}
	tokens := make(chan struct{}, window/burst)
	go func() {
		for sent := 0; sent < count; sent += burst {
			tokens <- struct{}{}
			n := min(burst, count-sent)
			if _, err := nc.Write(many[:n*len(frame)]); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	r := bufio.NewReaderSize(nc, 64<<10)
	for done := 0; done < count; done += burst {
		if err := readReplies(r, min(burst, count-done)); err != nil {
			b.Error(err)
			return
		}
		<-tokens
	}
}

// BenchmarkSend sends 1 KiB messages, pipelined.
func BenchmarkSend(b *testing.B) {
	for _, s := range []wire.Serializer{wire.JSON, wire.Binary} {
		for _, conns := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("serializer=%d/conns=%d", s, conns), func(b *testing.B) {
				n := startNode(b, nodeOptions{})
				if err := n.broker.PutTopic(broker.Topic{Name: "bench", ReadQueues: 8, WriteQueues: 8, Perm: 6}); err != nil {
					b.Fatal(err)
				}
				b.ResetTimer()
				reportCPU(b, b.N, func() {
					var wg sync.WaitGroup
					for i := range conns {
						wg.Go(func() { pipeline(b, n.addr, sendRequest("bench", i%8, 1024, s), (b.N+conns-1)/conns, 32) })
					}
					wg.Wait()
				})
			})
		}
	}
}

// BenchmarkPull pulls 1 KiB messages from the hot log, 32 at a time.
func BenchmarkPull(b *testing.B) {
	const messages = 100_000
	n := startNode(b, nodeOptions{})
	if err := n.broker.PutTopic(broker.Topic{Name: "bench", ReadQueues: 1, WriteQueues: 1, Perm: 6}); err != nil {
		b.Fatal(err)
	}
	pipeline(b, n.addr, sendRequest("bench", 0, 1024, wire.JSON), messages, 64)
	b.ResetTimer()
	reportCPU(b, b.N, func() {
		nc, err := net.Dial("tcp", n.addr)
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		r := bufio.NewReaderSize(nc, 256<<10)
		for i := 0; i < b.N; i += 32 {
			cmd := wire.NewRequest(wire.PullMessage, "consumerGroup", "bench", "topic", "bench", "queueId", "0",
				"queueOffset", fmt.Sprint(i%(messages-32)), "maxMsgNums", "32", "sysFlag", "4", "commitOffset", "0",
				"suspendTimeoutMillis", "0", "subscription", "*", "subVersion", "0", "expressionType", "TAG")
			if _, err := nc.Write(wire.AppendFrame(nil, cmd)); err != nil {
				b.Fatal(err)
			}
			if err := readReplies(r, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
