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

func ofBoth(name, metric string) (of, over side) {
	return side{name, varve, metric}, side{name, apache, metric}
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
	v := func(name, metric string) side { return side{name, varve, metric} }
	return append(all,
		bar{what: "timed delivery beside a million: p99 past the second", over: v(timedLate, "p99 ms late"), atMost: 100, unit: " ms"},
		bar{what: "cold catch-up, nothing cached, over their hot catch-up: rate", over: v("cold catch-up, nothing cached", "msg/s"), under: side{"cold catch-up, nothing cached", apache, "msg/s"}, atLeast: 1, decimals: 2, unit: "×"},
		bar{what: "connector over a bare parquet-go writer: bytes a CPU-second", over: v("connector", "MB/CPU-s"), under: v("connector", "bare MB/CPU-s"), atLeast: 0.8, decimals: 2, unit: "×"},
		bar{what: "memory while archiving a backlog", over: v("connector", "peak MiB"), atMost: 512, unit: " MiB"},
		bar{what: "archive bytes over hot bytes", over: v("disk", "archive % of hot"), atMost: 40, decimals: 1, unit: " %"},
		bar{what: "send p99 beside a cold reader over p99 without", over: v("paced sends, cold reader flat out", "p99 ms"), under: v("paced sends alone", "p99 ms"), atMost: 1.2, decimals: 2, unit: "×"},
	)
}

// report is the page of the spine.
func (r *results) report() string {
	var b strings.Builder
	b.WriteString("# The spine beside the real Apache broker\n\n")
	fmt.Fprintf(&b, "%s. %s. Command: `%s`.\n\n", r.Date, r.Machine, strings.TrimSpace(r.Command))
	b.WriteString("Apache RocketMQ 5.5.0 (4 GiB heap, no pre-touch, no tiered store) and Varve on loopback over clean folders, same driver on the same cores, 1 KiB\n" +
		"JSON-like bodies with a key, a tag and an id, four queues. Both are up at a time, and each case goes round both, the other one stopped (SIGSTOP) and the\n" +
		"disk's queue emptied before each turn. A figure is the median of the rounds; a ratio is the median of the rounds' own ratios, their lowest and highest\n" +
		"behind it. Sends: 2.5 s a round after a warm-up; connections × unanswered requests each. Send and hot pull cases run Varve with its route and broker\n" +
		"roles, as the real broker has no archive either; connector and cold cases run all roles, and there the real broker's figures are those of its hot\n" +
		"catch-up. CPU is that of the server's process. Pulls ask for 32 messages, one open pull a queue. The first send is timed from the start of the broker's\n" +
		"process (the name server of the real one runs already). Memory is read after the send cases. \"others' cores\" is what neither server nor driver took:\n" +
		"the kernel's own threads, the disk's among them, and whatever else ran.\n\n")
	r.tables(&b, bars(), func(name string) bool { return !ofFull(name) })
	return b.String()
}

// tables are the bars, and the figures of the cases that are wanted.
func (r *results) tables(b *strings.Builder, bars []bar, wanted func(name string) bool) {
	r.barTable(b, bars)
	r.figureTable(b, wanted)
	r.driftTable(b, wanted)
}

func (r *results) barTable(b *strings.Builder, bars []bar) {
	b.WriteString("## Bars\n\n| what | bar | measured | |\n|---|---|---|---|\n")
	for _, x := range bars {
		f := r.get(x.over.name, x.over.server, x.over.metric)
		if f == nil {
			continue
		}
		v, low, high := f.Value, slices.Min(f.Rounds), slices.Max(f.Rounds)
		if x.under.server != "" {
			var ok bool
			if v, low, high, ok = ratio(f, r.get(x.under.name, x.under.server, x.under.metric)); !ok {
				continue
			}
		}
		limit, met := fmt.Sprintf("≥ %.2f%s", x.atLeast, x.unit), v >= x.atLeast
		if x.atLeast == 0 {
			limit, met = fmt.Sprintf("≤ %.*f%s", x.decimals, x.atMost, x.unit), v <= x.atMost
		}
		verdict := "met"
		if !met {
			verdict = "**missed**"
		}
		fmt.Fprintf(b, "| %s | %s | %.*f%s%s | %s |\n", x.what, limit, x.decimals, v, x.unit, spread(low, high, x.decimals), verdict)
	}
}

func (r *results) figureTable(b *strings.Builder, wanted func(name string) bool) {
	b.WriteString("\n## Figures\n\n| case | metric | Apache | Varve | Varve / Apache |\n|---|---|---|---|---|\n")
	type key struct{ name, metric string }
	var seen []key
	for _, f := range r.Figures {
		k := key{f.Case, f.Metric}
		if slices.Contains(seen, k) || !wanted(f.Case) {
			continue
		}
		seen = append(seen, k)
		a, v := r.get(k.name, apache, k.metric), r.get(k.name, varve, k.metric)
		relative := ""
		if mid, low, high, ok := ratio(v, a); ok {
			relative = fmt.Sprintf("%.2f%s", mid, spread(low, high, 2))
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", k.name, k.metric, cell(a), cell(v), relative)
	}
}

// driftTable says what the machine was like meanwhile.
func (r *results) driftTable(b *strings.Builder, wanted func(name string) bool) {
	b.WriteString("\n## The machine meanwhile\n\nThe calibration is a fixed piece of work on one core, timed before each turn while both servers are stopped: where it differs, the machine's speed did.\n" +
		"\"stolen\" is how many cores the host kept for others.\n\n| case | server | calibration, ms a round | stolen cores a round |\n|---|---|---|---|\n")
	for _, d := range r.Drifts {
		if wanted(d.Case) {
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", d.Case, d.Server, list(d.Calibrations), list(d.Stolen))
		}
	}
}

func cell(f *figure) string {
	if f == nil {
		return ""
	}
	return human(f.Value)
}

// spread is empty where there was one round.
func spread(low, high float64, decimals int) string {
	if low == high {
		return ""
	}
	return fmt.Sprintf(" (%.*f–%.*f)", decimals, low, decimals, high)
}

func list(all []float64) string {
	var words []string
	for _, v := range all {
		words = append(words, human(v))
	}
	return strings.Join(words, " ")
}
