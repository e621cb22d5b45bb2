package http

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"varve/broker"
	"varve/internal/intake"
)

// xmlNamespace of the protocol. SDKs ignore it.
const xmlNamespace = "http://mq.aliyuncs.com/doc/v1/"

// xmlWriter writes an answer.
type xmlWriter struct{ b bytes.Buffer }

func newXML(root string) *xmlWriter {
	x := &xmlWriter{}
	x.b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	x.b.WriteString("<" + root + ` xmlns="` + xmlNamespace + `">`)
	return x
}

func (x *xmlWriter) open(name string)  { x.b.WriteString("<" + name + ">") }
func (x *xmlWriter) close(name string) { x.b.WriteString("</" + name + ">") }

// text is an element with one text. What XML can't carry becomes U+FFFD.
func (x *xmlWriter) text(name, value string) { x.bytes(name, []byte(value)) }

func (x *xmlWriter) bytes(name string, value []byte) {
	x.open(name)
	_ = xml.EscapeText(&x.b, value) // a Buffer takes everything
	x.close(name)
}

func (x *xmlWriter) base64(name string, value []byte) {
	x.open(name)
	e := base64.NewEncoder(base64.StdEncoding, &x.b)
	_, _ = e.Write(value)
	_ = e.Close()
	x.close(name)
}

func (x *xmlWriter) number(name string, n int64) {
	x.open(name)
	x.b.Write(strconv.AppendInt(x.b.AvailableBuffer(), n, 10))
	x.close(name)
}

// end gives the whole.
func (x *xmlWriter) end(root string) []byte {
	x.close(root)
	return x.b.Bytes()
}

// isXML reports whether XML can carry a text as it is.
func isXML(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 || r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
		b = b[n:]
	}
	return true
}

// headerRequestID is spelled as SDKs look for it, some of them with regard to
// case.
const headerRequestID = "x-mq-request-id"

// answer writes an answer; nil has no body.
func (c *call) answer(status int, body []byte) error {
	h := c.w.Header()
	h[headerRequestID] = []string{c.id}
	h["x-mq-version"] = []string{"2015-06-06"}
	if body != nil {
		h.Set("Content-Type", "text/xml;charset=utf-8")
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if err := http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(writeWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	c.w.WriteHeader(status)
	if body == nil {
		return nil
	}
	_, err := c.w.Write(body)
	return err
}

// decodeXML reads a body of at most limit bytes into v, whose XMLName says the
// root; its namespace doesn't matter.
func decodeXML(c *call, limit int64, v any) error {
	body := http.MaxBytesReader(c.w, c.r.Body, limit)
	if err := decode(body, v); err != nil {
		var long *http.MaxBytesError
		if errors.As(err, &long) {
			return refused(invalidArgument, "the request's body is over the limit of %d bytes", limit)
		}
		if errors.Is(err, intake.ErrFull) {
			return fmt.Errorf("%w: %w", broker.ErrBusy, err)
		}
		return refused(malformedXML, "the request's body: %v", err)
	}
	return nil
}

func decode(r io.Reader, v any) error {
	d := xml.NewDecoder(r)
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("empty")
		}
		return err
	}
	for {
		t, err := d.Token()
		switch t := t.(type) {
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errors.New("text behind the root element")
			}
		case xml.StartElement:
			return errors.New("two root elements")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
