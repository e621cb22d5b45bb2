package golden

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	messageHead = 5       // before each message: compressed or not, length
	mostDepth   = 6       // of messages in messages
	smallNumber = 1 << 5  // an enum's value, and not a time or an amount
	windowTable = 4 << 10 // of header compression: nobody asks for another
)

// grpcLine is one message of a call.
type grpcLine struct {
	RPC     string            `json:"rpc"`
	Headers map[string]string `json:"headers"`
	Message []byte            `json:"message"`
}

// grpcClients are the clients by the language and the version that they tell.
// The Go client 5.1.3 tells an older one, Node's that it were HTTP.
var grpcClients = map[[2]string]string{
	{"JAVA", "5.2.0"}:   "java-5.2.0",
	{"GO", "5.0.1-rc1"}: "go-5.1.3",
	{"PYTHON", "5.1.2"}: "python-5.1.2",
	{"HTTP", "1.0.8"}:   "node-1.0.8",
}

// call is one call of a connection: its headers, and what came of its next message.
type call struct {
	rpc     string
	headers map[string]string
	part    []byte
}

// readGRPC reads the messages that a client sends.
func readGRPC(r *Recorder, fromClient, toClient io.Reader) {
	go func() { _, _ = io.Copy(io.Discard, toClient) }()
	defer func() { _, _ = io.Copy(io.Discard, fromClient) }()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(fromClient, preface); err != nil || string(preface) != http2.ClientPreface {
		return // TLS, for one
	}
	f := http2.NewFramer(io.Discard, fromClient)
	f.SetMaxReadFrameSize(1<<24 - 1)
	f.ReadMetaHeaders = hpack.NewDecoder(windowTable, nil)
	calls := map[uint32]*call{}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			calls[frame.StreamID] = begun(frame)
		case *http2.DataFrame:
			if c := calls[frame.StreamID]; c != nil {
				c.take(r, frame.Data())
			}
			if frame.StreamEnded() {
				delete(calls, frame.StreamID)
			}
		case *http2.RSTStreamFrame:
			delete(calls, frame.StreamID)
		}
	}
}

// begun is a call by its headers: those of RocketMQ are kept.
func begun(frame *http2.MetaHeadersFrame) *call {
	c := &call{headers: map[string]string{}}
	for _, h := range frame.Fields {
		switch {
		case h.Name == ":path":
			c.rpc = h.Value[strings.LastIndexByte(h.Value, '/')+1:]
		case strings.HasPrefix(h.Name, "x-mq-"), h.Name == "authorization":
			c.headers[h.Name] = h.Value
		}
	}
	delete(c.headers, "x-mq-request-id")
	if c.headers["authorization"] == "" { // which signs it
		delete(c.headers, "x-mq-date-time")
	}
	return c
}

func (c *call) take(r *Recorder, data []byte) {
	c.part = append(c.part, data...)
	for len(c.part) >= messageHead {
		n := int(binary.BigEndian.Uint32(c.part[1:]))
		if len(c.part) < messageHead+n {
			return
		}
		if message := c.part[messageHead : messageHead+n]; c.part[0] == 0 && n <= longest {
			client := grpcClients[[2]string{c.headers["x-mq-language"], c.headers["x-mq-client-version"]}]
			paths := fields(nil, message, "", 0)
			s := shape{c.rpc, strings.Join(paths, " ")}
			if c.rpc == "Telemetry" && len(paths) > 0 { // one call for many commands, each a field
				s.kind += " " + strings.SplitN(paths[len(paths)-1], ".", 2)[0]
			}
			if c.rpc == "SendMessage" { // a field a type
				s.kind += " " + fmt.Sprint(len(paths))
			}
			r.keep("grpc", client, s, n, grpcLine{c.rpc, c.headers, slices.Clone(message)})
		}
		c.part = c.part[messageHead+n:]
	}
}

// fields gives the paths of the fields that a message has, and the small
// numbers near its surface: kinds, and not amounts. It needs no schema: bytes
// that read as a message, and not as text, are taken for one.
func fields(paths []string, b []byte, at string, depth int) []string {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return paths
		}
		b = b[n:]
		path := fmt.Sprint(at, tag>>3)
		size := 0
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			if size = n; depth < 2 && v < smallNumber {
				path += fmt.Sprint("=", v)
			}
		case 1:
			size = 8
		case 5:
			size = 4
		case 2:
			v, n := binary.Uvarint(b)
			if n <= 0 || v > uint64(len(b)-n) {
				return paths
			}
			if part := b[n : n+int(v)]; depth < mostDepth && !isText(part) && isMessage(part) {
				paths = fields(paths, part, path+".", depth+1)
			}
			size = n + int(v)
		}
		if size <= 0 || size > len(b) {
			return paths
		}
		if b = b[size:]; !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

func isText(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c > '~' })
}

// isMessage tells whether bytes are fields and nothing else.
func isMessage(b []byte) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 {
			return false
		}
		b = b[n:]
		size := map[uint64]int{1: 8, 5: 4}[tag&7]
		if tag&7 == 0 || tag&7 == 2 {
			v, n := binary.Uvarint(b)
			if n <= 0 || tag&7 == 2 && v > uint64(len(b)-n) {
				return false
			}
			if size = n; tag&7 == 2 {
				size += int(v)
			}
		}
		if size == 0 || size > len(b) {
			return false
		}
		b = b[size:]
	}
	return true
}
