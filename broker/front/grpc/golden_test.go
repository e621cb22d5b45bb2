package grpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	rpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"varve/broker/front/fronttest"
)

var update = flag.Bool("update", false, "write testdata/frames/*.golden anew")

// recorded is one message of a call that a client made. `make golden` records
// them.
type recorded struct {
	RPC     string            `json:"rpc"`
	Headers map[string]string `json:"headers"`
	Message []byte            `json:"message"`
}

// service has the calls of the protocol.
var service = v2.File_apache_rocketmq_v2_service_proto.Services().Get(0)

// TestGoldenCalls decodes what real clients sent and holds the result to a text.
func TestGoldenCalls(t *testing.T) {
	for client, calls := range fronttest.Recorded[recorded](t, os.DirFS("testdata/frames")) {
		t.Run(client, func(t *testing.T) {
			var out strings.Builder
			for _, r := range calls {
				text, err := r.describe()
				if err != nil {
					t.Fatalf("%s: %v", r.RPC, err)
				}
				fmt.Fprintln(&out, text)
			}
			golden := "testdata/frames/" + client + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("decoded calls differ from %s (run with -update to see how):\n%s", golden, out.String())
			}
		})
	}
}

// describe is a call as text: who makes it, its message, and the fields that
// the stubs don't know.
func (r *recorded) describe() (string, error) {
	method := service.Methods().ByName(protoreflect.Name(r.RPC))
	if method == nil {
		return "", fmt.Errorf("no such call")
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName())
	if err != nil {
		return "", err
	}
	m := kind.New().Interface()
	if err := proto.Unmarshal(r.Message, m); err != nil {
		return "", err
	}
	raw, err := protojson.Marshal(m)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if err := json.Compact(&text, raw); err != nil { // protojson's own spaces change from build to build
		return "", err
	}
	var w strings.Builder
	fmt.Fprintln(&w, r.RPC)
	var headers []string
	for name, value := range r.Headers {
		headers = append(headers, fmt.Sprintf("\t%s: %s\n", name, value))
	}
	slices.Sort(headers)
	fmt.Fprintf(&w, "%s\t%s\n", strings.Join(headers, ""), text.String())
	if unknown := m.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		fmt.Fprintf(&w, "\tand unknown fields: % x\n", unknown)
	}
	return w.String(), nil
}

// asIs is a codec that carries messages as they stand.
type asIs struct{}

func (asIs) Name() string                  { return "as is" }
func (asIs) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (asIs) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(b)
	return nil
}

// FuzzCalls sends any message as any call, those of real clients to begin
// with: it is answered, or refused by the stubs, and the next call is served.
func FuzzCalls(f *testing.F) {
	n := startNode(f, nodeOptions{})
	index := map[string]byte{}
	for i := range service.Methods().Len() {
		index[string(service.Methods().Get(i).Name())] = byte(i)
	}
	for _, calls := range fronttest.Recorded[recorded](f, os.DirFS("testdata/frames")) {
		for _, r := range calls {
			f.Add(index[r.RPC], r.Headers["x-mq-client-id"], r.Message)
		}
	}
	c, err := rpc.NewClient(n.addr, rpc.WithTransportCredentials(insecure.NewCredentials()), rpc.WithDefaultCallOptions(rpc.ForceCodec(asIs{})))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close() })
	const patience = 50 * time.Millisecond // some calls wait for messages
	f.Fuzz(func(t *testing.T, which byte, client string, message []byte) {
		method := service.Methods().Get(int(which) % service.Methods().Len())
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := call(metadata.AppendToOutgoingContext(ctx, "x-mq-client-id", client), c, method, message)
		switch status.Code(err) {
		case codes.OK, codes.DeadlineExceeded, codes.Internal, codes.Unimplemented: // Internal: no message at all
		default:
			t.Errorf("%s: %v", method.Name(), err)
		}
		beat, err := proto.Marshal(&v2.HeartbeatRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if err := call(as(t, "next"), c, service.Methods().ByName("Heartbeat"), beat); err != nil {
			t.Errorf("after %s: %v", method.Name(), err)
		}
	})
}

// call makes a call and reads its answers to their end.
func call(ctx context.Context, c *rpc.ClientConn, method protoreflect.MethodDescriptor, message []byte) error {
	s, err := c.NewStream(ctx, &rpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/"+string(service.FullName())+"/"+string(method.Name()))
	if err != nil {
		return err
	}
	if err := s.SendMsg(message); err != nil && err != io.EOF { // EOF: RecvMsg says why
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		var answer []byte
		if err := s.RecvMsg(&answer); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
