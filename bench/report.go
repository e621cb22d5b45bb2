package main

import (
	"fmt"
	"slices"
	"strings"
)

// side is a figure of one server.
type side struct{ name, server, metric string }

// bar is a ratio that the project has set itself.
type bar struct {
	what     string
	over     side
	under    side // Server "" = the value itself is judged
	atLeast  float64
	atMost   float64 // judged if atLeast is 0
	decimals int
	unit     string
}

func ofBoth(name, metric string) (varve, apache side) {
	return side{name, "varve", metric}, side{name, "apache", metric}
}

// bars are those of the spine.
func bars() []bar {
	var all []bar
	add := func(what, name, metric string, atLeast, atMost float64) {
		v, a := ofBoth(name, metric)
		all = append(all, bar{what: what, over: v, under: a, atLeast: atLeast, atMost: atMost, decimals: 2, unit: "×"})
	}
	for _, flush := range []string{"async", "sync"} {
		for _, sh := range []string{"8×32", "32×16"} {
			name := "send " + flush + " " + sh
			add(name+": rate", name, "msg/s", 3, 0)
			add(name+": p99", name, "p99 ms", 0, 1)
			add(name+": server CPU a message", name, "µs CPU/msg", 0, 1./3)
		}
	}
	add("Go client sync sends, 64 callers: rate", "Go client sync, 64 callers", "msg/s", 1.8, 0)
	add("catch-up pull: rate", "pull catch-up", "msg/s", 2, 0)
	add("catch-up pull: server CPU a message", "pull catch-up", "µs CPU/msg", 0, 0.5)
	add("resident memory after the send cases", "memory", "resident MiB", 0, 1./8)
	add("anonymous memory after the send cases", "memory", "anonymous MiB", 0, 1./8)
	add("timed sends: rate", timedInsert, "msg/s", 2, 0)
	add("start to first send", "start", "ms", 0, 0.1)
	v := func(name, metric string) side { return side{name, "varve", metric} }
	return append(all,
		bar{what: "timed delivery beside a million: p99 past the second", over: v(timedLate, "p99 ms late"), atMost: 100, unit: " ms"},
		bar{what: "cold catch-up, nothing cached, over their hot catch-up: rate", over: v("cold catch-up, nothing cached", "msg/s"), under: side{"pull catch-up", "apache", "msg/s"}, atLeast: 1, decimals: 2, unit: "×"},
		bar{what: "connector over a bare parquet-go writer: bytes a CPU-second", over: v("connector", "MB/CPU-s"), under: v("connector", "bare MB/CPU-s"), atLeast: 0.8, decimals: 2, unit: "×"},
		bar{what: "memory while archiving a backlog", over: v("connector", "peak MiB"), atMost: 512, unit: " MiB"},
		bar{what: "archive bytes over hot bytes", over: v("disk", "archive % of hot"), atMost: 40, decimals: 1, unit: " %"},
		bar{what: "send p99 beside a cold reader over p99 without", over: v("paced sends, cold reader flat out", "p99 ms"), under: v("paced sends alone", "p99 ms"), atMost: 1.2, decimals: 2, unit: "×"},
	)
}

// report is the whole page.
func (r *results) report() string {
	var b strings.Builder
	b.WriteString("# The spine beside the real Apache broker\n\n")
	fmt.Fprintf(&b, "%s. %s. Command: `%s`.\n\n", r.Date, r.Machine, strings.TrimSpace(r.Command))
	b.WriteString("Apache RocketMQ 5.5.0 (4 GiB heap, no pre-touch, no tiered store) and Varve, one after the other on loopback over clean folders, same driver on the\n" +
		"same cores, 1 KiB JSON-like bodies with a key, a tag and an id, four queues. Sends: 8 s a case after a warm-up; connections × unanswered requests each.\n" +
		"Send and hot pull cases run Varve with its route and broker roles, as the real broker has no archive either; connector and cold cases run all roles.\n" +
		"CPU is that of the server's process. Pulls ask for 32 messages, one open pull a queue. The first send is timed from the start of the broker's process\n" +
		"(the name server of the real one runs already). Memory is read after the send cases. \"others' cores\" is what neither server nor driver took: the\n" +
		"kernel's own threads, the disk's among them, and whatever else ran.\n\n")
	r.barTable(&b)
	r.figureTable(&b)
	return b.String()
}

func (r *results) barTable(b *strings.Builder) {
	b.WriteString("## Bars\n\n| what | bar | measured | |\n|---|---|---|---|\n")
	for _, x := range bars() {
		v, ok := r.get(x.over.name, x.over.server, x.over.metric)
		if ok && x.under.server != "" {
			var d float64
			if d, ok = r.get(x.under.name, x.under.server, x.under.metric); ok && d > 0 {
				v /= d
			}
		}
		if !ok {
			continue
		}
		limit, met := fmt.Sprintf("≥ %.2f%s", x.atLeast, x.unit), v >= x.atLeast
		if x.atLeast == 0 {
			limit, met = fmt.Sprintf("≤ %.*f%s", x.decimals, x.atMost, x.unit), v <= x.atMost
		}
		verdict := "met"
		if !met {
			verdict = "**missed**"
		}
		fmt.Fprintf(b, "| %s | %s | %.*f%s | %s |\n", x.what, limit, x.decimals, v, x.unit, verdict)
	}
}

func (r *results) figureTable(b *strings.Builder) {
	b.WriteString("\n## Figures\n\n| case | metric | Apache | Varve | Varve / Apache |\n|---|---|---|---|---|\n")
	type key struct{ name, metric string }
	var seen []key
	for _, f := range r.Figures {
		k := key{f.Case, f.Metric}
		if slices.Contains(seen, k) {
			continue
		}
		seen = append(seen, k)
		a, okA := r.get(k.name, "apache", k.metric)
		v, okV := r.get(k.name, "varve", k.metric)
		ratio := ""
		if okA && okV && a > 0 {
			ratio = fmt.Sprintf("%.2f", v/a)
		}
		cell := func(x float64, ok bool) string {
			if !ok {
				return ""
			}
			return human(x)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", k.name, k.metric, cell(a, okA), cell(v, okV), ratio)
	}
}
