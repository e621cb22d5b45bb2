package main

import (
	"fmt"
	"slices"
	"strings"

	"varve/e2e/server"
)

func isJava(column string) bool { return strings.HasPrefix(column, "Java") }

func isLanguage(column string) bool {
	return slices.ContainsFunc(languages, func(x language) bool { return x.column == column })
}

// languageMatrix writes the checks of the clients in other languages.
func (p *page) languageMatrix(b *strings.Builder) {
	var columns []string
	for _, x := range languages {
		columns = append(columns, x.column)
	}
	rows := append(slices.Clone(languageScenarios), coldScenarios...)
	slices.Sort(rows)
	p.table(b, "Clients of other languages", "The Go client 2.1.2 speaks remoting, the others gRPC. A name means the same as above.", columns, rows, isLanguage)
}

// table writes a section of the page: a row a scenario, a column a client that
// was run, and one of how such clients fared beside, unless beside is nil. There
// is none where no client was.
func (p *page) table(b *strings.Builder, title, text string, columns, rows []string, beside func(client string) bool) {
	cells := map[[2]string]check{}
	for _, c := range p.checks {
		cells[[2]string{c.Name, c.Column}] = c
	}
	columns = slices.DeleteFunc(columns, func(column string) bool {
		return !slices.ContainsFunc(p.checks, func(c check) bool { return c.Column == column })
	})
	if len(columns) == 0 {
		return
	}
	heads := slices.Clone(columns)
	if beside != nil {
		heads = append(heads, "Apache "+server.ApacheVersion)
	}
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| scenario | %s | remark |\n|---|%s---|\n",
		title, text, strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |", row)
		var remarks []string
		for _, column := range columns {
			c, ok := cells[[2]string{row, column}]
			if !ok {
				c.Verdict = "not run"
			}
			fmt.Fprintf(b, " %s |", c.Verdict)
			if c.Note != "" {
				remarks = append(remarks, column+": "+c.Note)
			}
		}
		if beside != nil {
			verdict, said := p.Beside.cell(row, beside)
			fmt.Fprintf(b, " %s |", verdict)
			if said != "" {
				remarks = append(remarks, "Apache "+server.ApacheVersion+": "+said)
			}
		}
		fmt.Fprintf(b, " %s |\n", strings.ReplaceAll(strings.Join(remarks, "; "), "|", "\\|"))
	}
}
