package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"varve/internal/auth"
)

// Schema is the schema of a topic's bodies, and the columns that it makes.
type Schema struct {
	Topic   string          `json:"topic"`
	Version int             `json:"version"`
	Format  string          `json:"format"`
	Message string          `json:"message,omitempty"` // of Protobuf
	Created time.Time       `json:"created"`
	Columns []SchemaColumn  `json:"columns"`
	LeftOut []SchemaLeftOut `json:"left_out,omitempty"`
	// Versions are all that the topic had, the newest first.
	Versions []SchemaVersion `json:"versions,omitempty"`
	// Document is the schema as it was declared.
	Document []byte `json:"document,omitempty"`
	// Apply is how far older files have the columns, where that was asked for.
	Apply *SchemaApply `json:"apply,omitempty"`
	// Changed says whether setting it changed anything.
	Changed bool `json:"changed"`
}

// SchemaApply is how far the files of before a schema have its columns.
type SchemaApply struct {
	Running bool   `json:"running"`
	Files   int    `json:"files"`           // of the topic, as far as known
	Done    int    `json:"done"`            // that have the columns, or are left as they are
	Skipped int    `json:"skipped"`         // of those: that can't be read
	Error   string `json:"error,omitempty"` // of the last attempt; it is made again
	// Left are the first of those that can't be read.
	Left []SchemaLeft `json:"left,omitempty"`
}

// SchemaLeft are rows that have no columns of the schema, and why.
type SchemaLeft struct {
	Object string `json:"object"`
	Broker string `json:"broker"`
	Queue  int32  `json:"queue"`
	From   int64  `json:"from"` // first offset
	To     int64  `json:"to"`   // behind the last
	Why    string `json:"why"`
}

// SchemaColumn is one typed column.
type SchemaColumn struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"` // Iceberg's name
	Doc  string `json:"doc,omitempty"`
}

// SchemaLeftOut is a field that gets no column.
type SchemaLeftOut struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// SchemaVersion is one version of a topic's schema.
type SchemaVersion struct {
	Version int       `json:"version"`
	Format  string    `json:"format"`
	Columns int       `json:"columns"`
	Created time.Time `json:"created"`
}

// SchemaSpec is a schema to be set or tried.
type SchemaSpec struct {
	Format   string            `json:"format"` // json, avro or protobuf
	Document []byte            `json:"document"`
	Message  string            `json:"message,omitempty"`
	Rename   map[string]string `json:"rename,omitempty"` // columns' new names by their old ones
	Drop     []string          `json:"drop,omitempty"`   // columns that shall go
}

// SchemaTrial is a schema that is tried on the newest messages. Without a
// format it is the one in force.
type SchemaTrial struct {
	SchemaSpec
	Messages int `json:"messages"` // at most, of all queues; 0 is 100
}

// SchemaResult is how messages fit.
type SchemaResult struct {
	Schema
	Tried   int            `json:"tried"`
	Fit     int            `json:"fit"`
	Misfits []SchemaMisfit `json:"misfits,omitempty"`
}

// SchemaMisfit is a reason for which bodies don't fit.
type SchemaMisfit struct {
	Reason   string `json:"reason"`
	Messages int    `json:"messages"`
	Queue    int32  `json:"queue"` // of the first
	Offset   int64  `json:"offset"`
}

// Schemas keeps the schemas of topics.
type Schemas interface {
	Schemas(ctx context.Context) ([]Schema, error)
	Schema(ctx context.Context, topic string) (Schema, error)
	SetSchema(ctx context.Context, topic string, s SchemaSpec) (Schema, error)
	TrySchema(ctx context.Context, topic string, t SchemaTrial) (SchemaResult, error)
	RemoveSchema(ctx context.Context, topic string) error
	ApplySchema(ctx context.Context, topic string) (Schema, error)
}

func (s *server) schemaRoutes() {
	s.handle("GET /api/v1/schemas", s.schemas(func(ctx context.Context, _ *http.Request) (any, error) {
		all, err := s.b.Schemas.Schemas(ctx)
		out := []Schema{}
		for _, x := range all {
			if s.sees(ctx, auth.Topic(x.Topic)) {
				out = append(out, x)
			}
		}
		return out, err
	}))
	s.handle("GET /api/v1/topics/{topic}/schema", s.schemas(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Schemas.Schema(ctx, r.PathValue("topic"))
	}))
	s.handle("PUT /api/v1/topics/{topic}/schema", s.schemas(func(ctx context.Context, r *http.Request) (any, error) {
		var spec SchemaSpec
		if err := decode(r, &spec); err != nil {
			return nil, err
		}
		return s.b.Schemas.SetSchema(ctx, r.PathValue("topic"), spec)
	}))
	s.handle("POST /api/v1/topics/{topic}/schema/check", s.schemas(func(ctx context.Context, r *http.Request) (any, error) {
		var t SchemaTrial
		if err := decode(r, &t); err != nil {
			return nil, err
		}
		if t.Messages < 0 || t.Messages > maxTried {
			return nil, BadRequest("messages: %d, at most %d can be tried", t.Messages, maxTried)
		}
		return s.b.Schemas.TrySchema(ctx, r.PathValue("topic"), t)
	}))
	s.handle("POST /api/v1/topics/{topic}/schema/apply", s.schemas(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Schemas.ApplySchema(ctx, r.PathValue("topic"))
	}))
	s.handle("DELETE /api/v1/topics/{topic}/schema", s.schemas(func(ctx context.Context, r *http.Request) (any, error) {
		return nil, s.b.Schemas.RemoveSchema(ctx, r.PathValue("topic"))
	}))
}

// maxTried bounds the messages that a schema is tried on.
const maxTried = 10_000

func (s *server) schemas(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Schemas == nil {
			return nil, missing("broker", "has schemas")
		}
		return f(ctx, r)
	}
}

// Schemas lists the topics' schemas.
func (c *Client) Schemas(ctx context.Context) ([]Schema, error) {
	return get[[]Schema](ctx, c, "/schemas", nil)
}

func schemaPath(topic string) string { return "/topics/" + url.PathEscape(topic) + "/schema" }

// Schema gives a topic's schema.
func (c *Client) Schema(ctx context.Context, topic string) (Schema, error) {
	return get[Schema](ctx, c, schemaPath(topic), nil)
}

// SetSchema declares a topic's schema, or its next version.
func (c *Client) SetSchema(ctx context.Context, topic string, s SchemaSpec) (Schema, error) {
	return call[Schema](ctx, c, http.MethodPut, schemaPath(topic), nil, s)
}

// TrySchema tries a schema on a topic's newest messages, and sets nothing.
func (c *Client) TrySchema(ctx context.Context, topic string, t SchemaTrial) (SchemaResult, error) {
	return call[SchemaResult](ctx, c, http.MethodPost, schemaPath(topic)+"/check", nil, t)
}

// ApplySchema has the files of before the schema get its columns, in the
// background.
func (c *Client) ApplySchema(ctx context.Context, topic string) (Schema, error) {
	return call[Schema](ctx, c, http.MethodPost, schemaPath(topic)+"/apply", nil, nil)
}

// RemoveSchema ends a topic's typed columns.
func (c *Client) RemoveSchema(ctx context.Context, topic string) error {
	_, err := call[any](ctx, c, http.MethodDelete, schemaPath(topic), nil, nil)
	return err
}
