package main

import (
	"fmt"
	"slices"
	"strings"
)

// ofFull tells the cases of the full broker's page from those of the spine.
func ofFull(name string) bool {
	return slices.ContainsFunc([]string{"10,000 ", "gRPC ", "POP ", "transactions "}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// fullReport is the page of the full broker; empty where none of it was run.
func (r *results) fullReport() string {
	if !slices.ContainsFunc(r.Figures, func(f *figure) bool { return ofFull(f.Case) }) {
		return ""
	}
	var b strings.Builder
	b.WriteString("# The full broker beside the real Apache broker and its proxy\n\n")
	fmt.Fprintf(&b, "%s. %s. Command: `%s`.\n\n", r.Date, r.Machine, strings.TrimSpace(r.Command))
	b.WriteString("Apache RocketMQ 5.5.0 with its proxy in local mode, in the broker's process as it is meant (4 GiB heap), and Varve, as on the page of the spine: both are\n" +
		"up at a time, each case goes round both, a ratio is the median of the rounds' own. The driver speaks the wire itself, with many unanswered requests on\n" +
		"each connection, so that it takes little of the cores: gRPC is unary calls as HTTP/2 frames, POP and transactions are remoting frames. 1 KiB bodies, four\n" +
		"queues. Receives ask for 32 messages. The cases with 10,000 topics and connections are Varve's alone: all roles, three messages in each of 100,000 queues.\n\n")
	r.tables(&b, slices.Concat(protocolBars(), scaleBars(), connectionBars()), ofFull)
	return b.String()
}
