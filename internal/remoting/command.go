package remoting

import (
	"fmt"
	"slices"
	"strings"
)

// Serializer is how a command's header is encoded.
type Serializer byte

// The two serializers of the protocol.
const (
	JSON   Serializer = 0
	Binary Serializer = 1 // "ROCKETMQ" in the sources
)

// Language is the code of the program's language that sent a command.
type Language byte

// Languages by their number on the wire.
const (
	Java  Language = 0
	CPP   Language = 1
	Other Language = 7
	HTTP  Language = 8
	Go    Language = 9
)

var languages = []string{
	"JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS",
}

// String is the language's name in JSON headers.
func (l Language) String() string {
	if int(l) < len(languages) {
		return languages[l]
	}
	return "OTHER"
}

func parseLanguage(name string) Language {
	if i := slices.Index(languages, name); i >= 0 {
		return Language(i)
	}
	return Other
}

// Bits of Command.Flag.
const (
	flagReply  int32 = 1
	flagOneWay int32 = 2
)

// Version is the protocol version (an ordinal of RocketMQ's MQVersion) that
// our commands carry: V5_3_3. Clients refuse features to old versions.
const Version = 479

// Command is one request or reply.
type Command struct {
	Code       int
	Language   Language
	Version    int
	Opaque     int32 // joins a reply to its request
	Flag       int32
	Remark     string
	Ext        Fields
	Body       []byte
	Serializer Serializer

	// Caller is who sent a request, where Config.Admit found it out.
	Caller any
	// Namespace is that of a client which sends it beside its names, where
	// Config.Admit gave the request's names theirs: its answer has names without.
	Namespace string

	// Free, of a command to be sent, is called once the body is written or
	// copied. It may never be called: where the connection ends before that.
	Free func()
}

// NewRequest is a request of our own with the given ext fields as name, value,
// name, value.
func NewRequest(code int, ext ...string) *Command {
	c := &Command{Code: code, Language: Go, Version: Version}
	for i := 0; i+1 < len(ext); i += 2 {
		c.Ext.Set(ext[i], ext[i+1])
	}
	return c
}

// IsReply tells a reply from a request.
func (c *Command) IsReply() bool { return c.Flag&flagReply != 0 }

// IsOneWay reports whether the sender waits for no reply.
func (c *Command) IsOneWay() bool { return c.Flag&flagOneWay != 0 }

// Clone copies a received command, so that it outlives the handler.
func (c *Command) Clone() *Command {
	d := *c
	d.Ext = c.Ext.clone()
	d.Body = slices.Clone(c.Body)
	d.Remark = strings.Clone(c.Remark)
	return &d
}

// Err is nil for a successful reply and a *ReplyError for any other.
func (c *Command) Err() error {
	if c.Code == Success {
		return nil
	}
	return &ReplyError{Code: c.Code, Remark: strings.Clone(c.Remark)}
}

// From is the return address of a request: what a reply needs of it after the
// handler has returned.
type From struct {
	Code       int
	Opaque     int32
	Serializer Serializer
	OneWay     bool
}

// From gives the command's return address.
func (c *Command) From() From {
	return From{Code: c.Code, Opaque: c.Opaque, Serializer: c.Serializer, OneWay: c.IsOneWay()}
}

// ReplyError is a reply with a code other than Success.
type ReplyError struct {
	Code   int
	Remark string
}

func (e *ReplyError) Error() string {
	if e.Remark == "" {
		return fmt.Sprintf("reply code %d", e.Code)
	}
	return fmt.Sprintf("reply code %d: %s", e.Code, e.Remark)
}
