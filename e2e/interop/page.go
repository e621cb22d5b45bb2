package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"varve/e2e/server"
)

// check is one line of what was tried.
type check struct {
	Name    string
	Column  string // the client, or the part
	Verdict string // ok, FAIL or skip
	Took    time.Duration
	Note    string
}

// page collects checks and writes them as Markdown.
type page struct {
	Server     string
	ServerName string
	Started    time.Time
	Beside     results // how another server fared, a column of the scenarios

	mu     sync.Mutex
	checks []check
}

func (p *page) add(c check) {
	p.mu.Lock()
	p.checks = append(p.checks, c)
	p.mu.Unlock()
	fmt.Printf("%-5s %-24s %-28s %6.1fs  %s\n", c.Verdict, c.Name, c.Column, c.Took.Seconds(), c.Note)
}

// try runs a check and records how it ended.
func (p *page) try(name, column string, f func() (string, error)) error {
	start := time.Now()
	note, err := f()
	c := check{Name: name, Column: column, Verdict: "ok", Took: time.Since(start), Note: note}
	if err != nil {
		c.Verdict, c.Note = "FAIL", strings.ReplaceAll(err.Error(), "\n", " ")
	}
	p.add(c)
	return err
}

func (p *page) count() (passed, failed, skipped int) {
	for _, c := range p.checks {
		switch c.Verdict {
		case "ok":
			passed++
		case "skip":
			skipped++
		default:
			failed++
		}
	}
	return passed, failed, skipped
}

func (p *page) write(name string) error {
	var b strings.Builder
	b.WriteString("# Clients that were run\n\n")
	fmt.Fprintf(&b, "Written by `make interop` on %s (%s, %d CPUs). Each cell is a scenario run end to end by that unmodified client\n"+
		"against `varve server`; `make interop-apache` runs the same list against the real Apache broker, and keeps what came of it for its column here.\n",
		p.Started.UTC().Format("2006-01-02"), runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU())
	p.matrix(&b)
	p.languageMatrix(&b)
	p.httpMatrix(&b)
	p.list(&b)
	passed, failed, skipped := p.count()
	fmt.Fprintf(&b, "\n%d passed, %d failed, %d skipped.\n", passed, failed, skipped)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("making the page's folder: %w", err)
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// matrix writes the checks that were run by several clients: a row a scenario, a column a client.
func (p *page) matrix(b *strings.Builder) {
	var columns, rows []string
	cells := map[[2]string]check{}
	for _, c := range p.checks {
		if !isJava(c.Column) {
			continue
		}
		if !slices.Contains(columns, c.Column) {
			columns = append(columns, c.Column)
		}
		if !slices.Contains(rows, c.Name) {
			rows = append(rows, c.Name)
		}
		cells[[2]string{c.Name, c.Column}] = c
	}
	if len(rows) == 0 {
		return
	}
	slices.Sort(rows)
	slices.Sort(columns)
	beside := "Apache " + server.ApacheVersion
	fmt.Fprintf(b, "\n## Scenarios\n\n| scenario | %s | %s | remark |\n|---|---|%s---|\n", strings.Join(columns, " | "), beside, strings.Repeat("---|", len(columns)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |", row)
		note := ""
		for _, col := range columns {
			c, ok := cells[[2]string{row, col}]
			if !ok {
				c.Verdict = ""
			}
			fmt.Fprintf(b, " %s |", c.Verdict)
			if c.Note != "" && c.Verdict != "skip" && (note == "" || c.Verdict != "ok") {
				note = c.Note
			}
		}
		verdict, said := p.Beside.cell(row, isJava)
		if said != "" {
			note = strings.TrimPrefix(note+"; "+beside+": "+said, "; ")
		}
		fmt.Fprintf(b, " %s | %s |\n", verdict, strings.ReplaceAll(note, "|", "\\|"))
	}
	b.WriteString("\nAn empty cell: the client has no such thing, or no scenario for it. skip: it has not, says the scenario itself.\n")
}

// list writes the other checks, part by part.
func (p *page) list(b *strings.Builder) {
	part := ""
	for _, c := range p.checks {
		if isJava(c.Column) || isLanguage(c.Column) || isHTTPSDK(c.Column) || c.Column == mqadminColumn { // the last has a page of its own
			continue
		}
		if c.Column != part {
			part = c.Column
			fmt.Fprintf(b, "\n## %s\n\n| check | result | remark |\n|---|---|---|\n", part)
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", c.Name, c.Verdict, strings.ReplaceAll(c.Note, "|", "\\|"))
	}
}
