package main

import (
	"fmt"
	"slices"
	"strings"
)

func isLanguage(column string) bool {
	return slices.ContainsFunc(languages, func(x language) bool { return x.column == column })
}

// languageMatrix writes the checks of the clients in other languages: a row a
// scenario, a column a client.
func (p *page) languageMatrix(b *strings.Builder) {
	cells := map[[2]string]check{}
	for _, c := range p.checks {
		cells[[2]string{c.Name, c.Column}] = c
	}
	var columns []string
	for _, x := range languages {
		if slices.ContainsFunc(p.checks, func(c check) bool { return c.Column == x.column }) {
			columns = append(columns, x.column)
		}
	}
	if len(columns) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## Clients of other languages\n\nThe Go client 2.1.2 speaks remoting, the others gRPC. A name means the same as above.\n\n| scenario | %s | remark |\n|---|%s---|\n",
		strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	rows := append(slices.Clone(languageScenarios), coldScenarios...)
	slices.Sort(rows)
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
