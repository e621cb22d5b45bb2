package typed

import (
	"fmt"
	"strings"
)

// Format is the language of a declared schema.
type Format string

// The formats.
const (
	JSON     Format = "json"
	Avro     Format = "avro"
	Protobuf Format = "protobuf"
)

// LeftOut is a part of a declared schema that gets no column.
type LeftOut struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// declared is a parsed schema: its fields have no ids yet.
type declared struct {
	fields  []Field
	leftOut []LeftOut
}

// declare parses a schema.
func declare(format Format, document []byte, message string) (d declared, err error) {
	if len(document) > maxDocument {
		return d, fmt.Errorf("%d bytes are more than the %d that a schema may have", len(document), maxDocument)
	}
	if message != "" && format != Protobuf {
		return d, fmt.Errorf("a message is named, which only Protobuf has")
	}
	switch format {
	case JSON:
		d, err = declareJSON(document)
	case Avro:
		d, err = declareAvro(document)
	case Protobuf:
		d, err = declareProtobuf(document, message)
	default:
		return d, fmt.Errorf("no format is called %q: json, avro or protobuf", format)
	}
	if err != nil {
		return d, err
	}
	switch n := leaves(d.fields); {
	case n == 0:
		return d, fmt.Errorf("it has no field that a column could hold%s", d.why())
	case n > maxLeaves:
		return d, fmt.Errorf("%d columns are more than the limit of %d", n, maxLeaves)
	}
	return d, checkFields(d.fields, "", 1)
}

func (d declared) why() string {
	if len(d.leftOut) == 0 {
		return ""
	}
	var parts []string
	for _, l := range d.leftOut[:min(3, len(d.leftOut))] {
		parts = append(parts, l.Field+": "+l.Reason)
	}
	return " (" + strings.Join(parts, "; ") + ")"
}
