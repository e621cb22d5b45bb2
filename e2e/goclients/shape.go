package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	mebibyte = 1 << 20
	// clientRoom is what the clients add to a body of the largest size: one
	// packs it and sends it packed although that makes it longer, the other
	// takes no answer over 4 MiB.
	clientRoom = 4 << 10
)

// noise is text that no compression makes smaller by much.
func noise(n int) string {
	src := rand.New(rand.NewPCG(7, 9)) //nolint:gosec // a body, not a secret
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(src.Uint32())
	}
	return string(b)
}

// through sends one body and demands it back.
func through(e *env, p sender, body string) (*message, error) {
	in, err := e.consume()
	if err != nil {
		return nil, err
	}
	m := e.message("")
	m.body, m.keys = body, []string{"big"}
	if _, err := p.send(e, m); err != nil {
		return nil, fmt.Errorf("sending %d bytes: %w", len(body), err)
	}
	if err := e.until("the message", usual, func() bool { return len(in.messages()) > 0 }); err != nil {
		return nil, err
	}
	got := in.messages()[0]
	if got.body != body {
		return nil, fmt.Errorf("the body of %d bytes came back as %d others", len(body), len(got.body))
	}
	return got, nil
}

func bodyLargest(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	_, err = through(e, p, noise(4*mebibyte-clientRoom))
	return err
}

func bodyTooLarge(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	m := e.message("")
	m.body = noise(4*mebibyte + 1024)
	_, err = p.send(e, m)
	if err := refused("a body over 4 MiB", err); err != nil {
		return err
	}
	_, err = p.send(e, e.message("after"))
	return err
}

// bodyCompressed sends text that the client makes small.
func bodyCompressed(e *env) error {
	if !e.lib.remoting() {
		return lacks("compression")
	}
	p, err := e.ready("")
	if err != nil {
		return err
	}
	body := strings.Repeat("varve upon varve ", 12_000)
	m, err := through(e, p, body)
	if err != nil {
		return err
	}
	if m.size == 0 || m.size > len(body)/4 {
		return fmt.Errorf("stored in %d bytes, so not compressed", m.size)
	}
	return nil
}

func propertiesMany(e *env) error {
	p, err := e.ready("")
	if err != nil {
		return err
	}
	in, err := e.consume()
	if err != nil {
		return err
	}
	m := e.message("many")
	m.props = map[string]string{}
	for i := range 40 {
		m.props["prop."+strconv.Itoa(i)] = strings.Repeat("é漢", 60) + strconv.Itoa(i)
	}
	if _, err := p.send(e, m); err != nil {
		return err
	}
	if err := e.until("the message", usual, func() bool { return len(in.messages()) == 1 }); err != nil {
		return err
	}
	got := in.messages()[0]
	for name, want := range m.props {
		if err := equal(name, want, got.props[name]); err != nil {
			return err
		}
	}
	over := e.message("over")
	over.props = map[string]string{"huge": strings.Repeat("x", 40_000)}
	_, err = p.send(e, over)
	if err := refused("properties over 32 KiB", err); err != nil {
		return err
	}
	_, err = p.send(e, e.message("after"))
	return err
}
