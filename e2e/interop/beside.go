package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// results are how the scenarios ended against one server, kept in a file: the
// real broker's stand beside Varve's on the page.
type results struct {
	Server string       `json:"server"`
	Date   string       `json:"date"` // of the last run that wrote here
	Checks []keptResult `json:"checks"`
}

type keptResult struct {
	Scenario string `json:"scenario"`
	Client   string `json:"client"`
	Verdict  string `json:"verdict"`
	Note     string `json:"note,omitempty"`
}

func readResults(name string) (results, error) {
	var r results
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("reading the results in %s: %w", name, err)
	}
	return r, nil
}

// record puts what clients tried in place of what the file has of it.
func (p *page) record(name string) error {
	r, err := readResults(name)
	if err != nil {
		return err
	}
	for _, c := range p.checks {
		if !isJava(c.Column) && !isLanguage(c.Column) {
			continue
		}
		kept := keptResult{Scenario: c.Name, Client: c.Column, Verdict: c.Verdict, Note: firstOf(c.Note)}
		same := func(k keptResult) bool { return k.Scenario == kept.Scenario && k.Client == kept.Client }
		if i := slices.IndexFunc(r.Checks, same); i >= 0 {
			r.Checks[i] = kept
		} else {
			r.Checks = append(r.Checks, kept)
		}
	}
	slices.SortFunc(r.Checks, func(a, b keptResult) int {
		return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Client, b.Client))
	})
	r.Server, r.Date = p.ServerName, p.Started.UTC().Format("2006-01-02")
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(name, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the results to %s: %w", name, err)
	}
	return nil
}

// firstOf keeps a remark to a length that a table bears.
func firstOf(note string) string {
	const most = 200
	if len(note) <= most {
		return note
	}
	return strings.ToValidUTF8(note[:most], "") + " …"
}

// cell is how a scenario ended with such clients together, and what was said of
// those with which it failed.
func (r *results) cell(scenario string, such func(client string) bool) (verdict, note string) {
	var failed []string
	ok := 0
	for _, k := range r.Checks {
		switch {
		case k.Scenario != scenario || !such(k.Client):
		case k.Verdict == "ok":
			ok++
		case k.Verdict == "skip":
			verdict = "skip"
		default:
			failed = append(failed, strings.TrimPrefix(k.Client, "Java "))
			note = k.Note
		}
	}
	switch {
	case len(failed) > 0 && ok > 0:
		return "FAIL: " + strings.Join(failed, "; "), note
	case len(failed) > 0:
		return "FAIL", note
	case ok > 0:
		return "ok", ""
	}
	return cmp.Or(verdict, "not run"), ""
}
