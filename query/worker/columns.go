package worker

import (
	"slices"
	"strings"
)

// Limits of the words that may be columns: their lengths, and how many are told
// apart.
const (
	maxWord  = 256
	maxWords = 10_000
)

// derived are the view's columns that are made of others.
var derived = map[string]string{"key": "keys", "body_text": "body", "body_json": "body"}

// columnsOf names the files' columns that a query can read, nil where that may
// be all of them. Whatever stands in the tree as a text may be a column's name
// (USING and PIVOT have them as such), so a column is left out only where its
// name is nowhere. tables are the names and aliases in FROM: as a column they
// are whole rows. words are what else may be a column that a topic's schema
// declares.
func columnsOf(tree any) (columns, words []string) {
	f := mentioned{texts: map[string]bool{}, tables: map[string]bool{}, last: map[string]bool{}}
	f.look(tree)
	for name := range f.last {
		if f.tables[name] {
			return nil, nil
		}
	}
	if f.all {
		return nil, nil
	}
	out := []string{}
	for _, c := range rowColumns {
		if f.texts[c.name] {
			out = append(out, c.name)
		}
	}
	for name, of := range derived {
		if f.texts[name] && !slices.Contains(out, of) {
			out = append(out, of)
		}
	}
	slices.Sort(out)
	for text := range f.texts {
		if len(text) > 0 && len(text) <= maxWord && len(words) < maxWords {
			words = append(words, text)
		}
	}
	if len(words) == maxWords {
		return nil, nil
	}
	return out, words
}

// mentioned is what a syntax tree names, in lower case.
type mentioned struct {
	all    bool
	texts  map[string]bool
	tables map[string]bool
	last   map[string]bool // last parts of names in the places of columns
}

func (f *mentioned) look(n any) {
	switch n := n.(type) {
	case string:
		f.texts[strings.ToLower(n)] = true
	case []any:
		for _, e := range n {
			f.look(e)
		}
	case obj:
		f.node(n)
		for _, e := range n {
			f.look(e)
		}
	}
}

// node looks for what reads columns without naming them.
func (f *mentioned) node(n obj) {
	switch str(n["type"]) {
	case "STAR", "POSITIONAL_REFERENCE", "PIVOT", "SHOW_REF":
		f.all = true
	}
	switch str(n["class"]) {
	case "STAR", "POSITIONAL_REFERENCE":
		f.all = true
	case "COLUMN_REF":
		if names := list(n["column_names"]); len(names) > 0 {
			f.last[strings.ToLower(str(names[len(names)-1]))] = true
		}
	}
	if str(n["ref_type"]) == "NATURAL" || len(list(n["column_name_alias"])) > 0 {
		f.all = true
	}
	for _, k := range []string{"table_name", "alias"} {
		if name := str(n[k]); name != "" && n["table_name"] != nil {
			f.tables[strings.ToLower(name)] = true
		}
	}
}
