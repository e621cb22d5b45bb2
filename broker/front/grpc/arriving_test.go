package grpc_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	front "varve/broker/front/grpc"
	"varve/internal/intake"
)

// wire is a client that speaks frames.
type wire struct {
	net.Conn
	*http2.Framer
	t      *testing.T
	mu     sync.Mutex
	resets map[uint32]http2.ErrCode
	grants map[uint32]uint32 // by streams
	ended  map[uint32]bool
}

func newWire(t *testing.T, n *node) *wire {
	t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w := &wire{Conn: c, Framer: http2.NewFramer(c, c), t: t, resets: map[uint32]http2.ErrCode{}, grants: map[uint32]uint32{}, ended: map[uint32]bool{}}
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	w.must(w.WriteSettings())
	go w.listen()
	return w
}

func (w *wire) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) listen() {
	for {
		f, err := w.ReadFrame()
		if err != nil {
			return
		}
		w.mu.Lock()
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if _, ok := w.resets[f.StreamID]; !ok {
				w.resets[f.StreamID] = f.ErrCode
			}
		case *http2.WindowUpdateFrame:
			w.grants[f.StreamID] += f.Increment
		case *http2.HeadersFrame:
			w.ended[f.StreamID] = w.ended[f.StreamID] || f.StreamEnded()
		}
		w.mu.Unlock()
	}
}

// begin opens a call.
func (w *wire) begin(stream uint32, method string) {
	w.t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, h := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", "/apache.rocketmq.v2.MessagingService/" + method},
		{":authority", "x"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
		{"x-mq-client-id", "raw"},
	} {
		w.must(enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
	}
	w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}))
}

// send sends the beginning of a message that is announced with a length.
func (w *wire) send(stream uint32, length, n int) {
	w.t.Helper()
	data := make([]byte, 5+n)
	binary.BigEndian.PutUint32(data[1:], uint32(length))
	w.data(stream, data, false)
}

func (w *wire) data(stream uint32, data []byte, end bool) {
	w.t.Helper()
	for len(data) > 0 {
		n := min(len(data), 16<<10)
		w.must(w.WriteData(stream, end && n == len(data), data[:n]))
		data = data[n:]
	}
}

// until waits for something that the broker does.
func (w *wire) until(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		w.mu.Lock()
		ok := is()
		w.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			w.t.Fatal("never: " + what)
		}
	}
}

// Large messages come one after the other within the budget, whoever announces
// them; they are all taken, and small ones go past.
func TestLargeMessagesTakeTurns(t *testing.T) {
	const size = 1 << 20
	budget := intake.New(4*size, 1)
	n := startNode(t, nodeOptions{front: front.Config{Intake: budget}})
	n.topic(t, "orders", 1, "")
	greedy := newWire(t, n)
	for i := range uint32(32) {
		greedy.begin(2*i+1, "SendMessage")
		greedy.send(2*i+1, size, 60<<10)
	}
	let := func() (n int) {
		for stream, granted := range greedy.grants {
			if stream != 0 && granted >= size {
				n++
			}
		}
		return n
	}
	greedy.until("all that is in the budget", func() bool { return let() == 5 && budget.Stats().Waiting == 1 })
	stub, ctx := n.stub(t, false), as(t, "p")
	sendOK(t, stub, ctx, message("orders", "0", "small"))
	greedy.mu.Lock()
	if got := let(); got != 5 || len(greedy.resets) != 0 {
		t.Errorf("%d messages are let come, %d calls reset", got, len(greedy.resets))
	}
	greedy.mu.Unlock()
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			r, err := stub.SendMessage(ctx, &v2.SendMessageRequest{Messages: []*v2.Message{message("orders", "1", strings.Repeat("x", size))}})
			if err != nil || r.GetStatus().GetCode() != v2.Code_OK {
				t.Errorf("a large message: %v, %v", r.GetStatus(), err)
			}
		})
	}
	_ = greedy.Close()
	all.Wait()
	for end := time.Now().Add(30 * time.Second); !budget.Untaken(4*size, 1); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("calls that ended hold some of the budget: %+v", budget.Stats())
		}
	}
}

// A connection whose calls all stop within their messages is told that it asks
// too much, before it has much of the memory; others and its own later calls go
// on.
func TestCallsThatStopAreBounded(t *testing.T) {
	const each = 60 << 10
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	w := newWire(t, n)
	calls := uint32(front.MostSmall/each + 100)
	for i := range calls {
		w.begin(2*i+1, "SendMessage")
		w.send(2*i+1, each+1000, each)
	}
	w.until("resets", func() bool { return len(w.resets) >= 50 })
	w.mu.Lock()
	for stream, code := range w.resets {
		// Without an error: gRPC's own answer was there before.
		if code != http2.ErrCodeEnhanceYourCalm && code != http2.ErrCodeNo {
			t.Errorf("call %d is reset with %v", stream, code)
		}
	}
	w.mu.Unlock()
	if s := n.front.Stats(); s.Arriving > front.MostSmall || s.Arriving < front.MostSmall/2 || s.Shed < 50 {
		t.Errorf("figures %+v", s)
	}
	sendOK(t, n.stub(t, false), as(t, "p"), message("orders", "0", "small"))
	_ = w.Close()
	w.until("nothing arriving", func() bool { return n.front.Stats().Arriving == 0 })
}

// What trickles ends after a minute, and what is let come after its time; calls
// that wait for messages and standing conversations go on, and so does the
// connection.
func TestWhatTricklesEnds(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	w := newWire(t, n)
	w.begin(1, "SendMessage") // and nothing
	w.begin(3, "SendMessage")
	w.send(3, 1000, 10)
	w.begin(5, "SendMessage")
	w.send(5, 2<<20, 60<<10)
	w.begin(7, "Telemetry")
	w.data(7, framed(t, &v2.TelemetryCommand{Command: &v2.TelemetryCommand_Settings{Settings: &v2.Settings{PubSub: &v2.Settings_Publishing{Publishing: &v2.Publishing{}}}}}), false)
	w.until("a large one let come", func() bool { return w.grants[5] >= 2<<20 })
	for range 5 {
		n.front.SweepDoors()
	}
	w.until("the end of the large one", func() bool { return w.resets[5] == http2.ErrCodeEnhanceYourCalm })
	for range front.MessageSweeps + 1 - 5 {
		n.front.SweepDoors()
	}
	w.until("the end of what trickles", func() bool { return w.resets[1] != 0 && w.resets[3] != 0 })
	w.begin(9, "Heartbeat")
	w.data(9, framed(t, &v2.HeartbeatRequest{}), true)
	w.until("an answer", func() bool { return w.ended[9] })
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.resets) != 3 || w.ended[7] {
		t.Errorf("resets %v, ended %v", w.resets, w.ended)
	}
}

func framed(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{0, byte(len(b) >> 24), byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}
