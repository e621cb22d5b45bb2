package golden

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// frameLimit is the longest frame that clients send, body included.
const frameLimit = 32 << 20

// remotingLine is one frame: a request, or what a client answers the broker.
type remotingLine struct {
	Code    int    `json:"code,omitempty"`
	Answers int    `json:"answers,omitempty"` // the code of the broker's request
	Frame   []byte `json:"frame"`
}

// remotingClients are the clients by their language and protocol version.
var remotingClients = map[[2]string]string{
	{"JAVA", "409"}: "java-4.9.8",
	{"JAVA", "513"}: "java-5.5.0",
	{"GO", "317"}:   "go-2.1.2",
}

// header is what counts of a frame's header, in either serializer.
type header struct {
	Code      int               `json:"code"`
	Language  string            `json:"language"`
	Version   int               `json:"version"`
	Opaque    int32             `json:"opaque"`
	Flag      int32             `json:"flag"`
	ExtFields map[string]string `json:"extFields"`

	serializer string
	bodyLen    int
}

// readRemoting reads frames. What the broker asks is remembered by its opaque,
// so that an answer is known by the code of the request.
func readRemoting(r *Recorder, fromClient, toClient io.Reader) {
	var mu sync.Mutex
	asked := map[int32]int{}
	go frames(toClient, func(h *header, _ []byte) {
		if h.Flag&1 == 0 {
			mu.Lock()
			asked[h.Opaque] = h.Code
			mu.Unlock()
		}
	})
	frames(fromClient, func(h *header, frame []byte) {
		line := remotingLine{Code: h.Code, Frame: frame}
		if h.Flag&1 != 0 {
			mu.Lock()
			line.Code, line.Answers = 0, asked[h.Opaque]
			mu.Unlock()
		}
		client := remotingClients[[2]string{h.Language, strconv.Itoa(h.Version)}]
		if strings.HasPrefix(client, "java-") {
			client += "-" + h.serializer
		}
		r.keep("remoting", client, h.shape(line.Answers), len(frame), line)
	})
}

// telling are fields whose value makes a request of another kind: messages
// that are compressed, halves or batches, and how a transaction ends.
var telling = []string{"f", "m", "batch", "commitOrRollback"}

func (h *header) shape(answers int) shape {
	kind := []string{fmt.Sprintf("%06d %06d", h.Code, answers)}
	fields := []string{fmt.Sprint(h.Flag, h.bodyLen > 0)}
	for name, value := range h.ExtFields {
		fields = append(fields, name)
		if slices.Contains(telling, name) {
			kind = append(kind, name+"="+value)
		}
	}
	slices.Sort(kind)
	slices.Sort(fields)
	return shape{strings.Join(kind, " "), strings.Join(fields, " ")}
}

// frames reads frames until one is none.
func frames(in io.Reader, each func(*header, []byte)) {
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			break
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > frameLimit { // TLS, for one
			break
		}
		frame := make([]byte, 4+n)
		copy(frame, head[:])
		if _, err := io.ReadFull(in, frame[4:]); err != nil {
			break
		}
		h, err := parseHeader(frame[4:])
		if err != nil {
			fmt.Println("recorder:", err)
			break
		}
		each(h, frame)
	}
	_, _ = io.Copy(io.Discard, in)
}

var errShort = errors.New("frame ends too soon")

func parseHeader(b []byte) (*header, error) {
	if len(b) < 4 {
		return nil, errShort
	}
	serializer, n := b[0], int(binary.BigEndian.Uint32(b)&0xffffff)
	if b = b[4:]; n > len(b) {
		return nil, errShort
	}
	h := &header{bodyLen: len(b) - n, serializer: "json"}
	if serializer == 0 {
		if err := json.Unmarshal(b[:n], h); err != nil {
			return nil, fmt.Errorf("frame with header %q: %w", b[:n], err)
		}
		return h, nil
	}
	h.serializer = "rocketmq"
	return h, h.binary(b[:n])
}

// binary reads a header of the serializer ROCKETMQ: code, language, version,
// opaque, flag, remark, and names and values with their lengths before them.
func (h *header) binary(b []byte) error {
	const fixed = 2 + 1 + 2 + 4 + 4
	if len(b) < fixed+4 {
		return errShort
	}
	h.Code, h.Version = int(int16(binary.BigEndian.Uint16(b))), int(binary.BigEndian.Uint16(b[3:]))
	h.Language = map[byte]string{0: "JAVA", 9: "GO"}[b[2]]
	h.Opaque, h.Flag = int32(binary.BigEndian.Uint32(b[5:])), int32(binary.BigEndian.Uint32(b[9:]))
	remark := int(binary.BigEndian.Uint32(b[fixed:]))
	if b = b[fixed+4:]; remark > len(b)-4 {
		return errShort
	}
	b = b[remark:]
	if n := int(binary.BigEndian.Uint32(b)); n != len(b)-4 {
		return fmt.Errorf("frame with %d bytes of fields, said to be %d", len(b)-4, n)
	}
	h.ExtFields = map[string]string{}
	for b = b[4:]; len(b) > 0; {
		name, rest, ok := cut(b, 2)
		value, after, ok2 := cut(rest, 4)
		if !ok || !ok2 {
			return errShort
		}
		h.ExtFields[name], b = value, after
	}
	return nil
}

// cut takes a text with its length in so many bytes before it.
func cut(b []byte, size int) (text string, rest []byte, ok bool) {
	if len(b) < size {
		return "", nil, false
	}
	n := 0
	for _, c := range b[:size] {
		n = n<<8 | int(c)
	}
	if b = b[size:]; n > len(b) {
		return "", nil, false
	}
	return string(b[:n]), b[n:], true
}
