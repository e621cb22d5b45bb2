package main

import (
	"fmt"
	"slices"
	"strings"
)

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
	p.table(b, "Clients of other languages", "The Go client 2.1.2 speaks remoting, the others gRPC. A name means the same as above.", columns, rows)
}

// table writes a section of the page: a row a scenario, a column a client that
// was run. There is none where no client was.
func (p *page) table(b *strings.Builder, title, text string, columns, rows []string) {
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
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| scenario | %s | remark |\n|---|%s---|\n",
		title, text, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
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
		fmt.Fprintf(b, " %s |\n", strings.ReplaceAll(strings.Join(remarks, "; "), "|", "\\|"))
	}
}
