package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Hard limits; CONTRIBUTING.md asks for 500 and 70.
const (
	maxFileLines = 1000
	maxFuncLines = 100
)

// filesAllowed lists the folders whose production code may open, make or
// remove files through package os. Everything else goes through a vfs.FS, an
// objstore.Bucket or a value that it was handed.
var filesAllowed = []string{
	"cmd/varve", "internal/app", "internal/config", "internal/demo", "internal/lint",
	"internal/objstore/fs", "internal/migrate", "connector", "connector/apply", "connector/compact", "history", "query/...", "replay", "hot", "internal/meta",
	"internal/archive/...",
	"internal/tlsport",
}

// timeless lists the pure cores: they take the time as a value.
var timeless = []string{
	"internal/mq", "internal/expr", "internal/nearest", "internal/retention", "internal/tier", "internal/typed", "hot/segment", "hot/index", "broker/filter",
}

var osFileCalls = map[string]bool{
	"Open": true, "OpenFile": true, "Create": true, "CreateTemp": true, "ReadFile": true, "WriteFile": true,
	"Remove": true, "RemoveAll": true, "Rename": true, "Mkdir": true, "MkdirAll": true, "MkdirTemp": true,
	"ReadDir": true, "Link": true, "Symlink": true, "Truncate": true, "Chmod": true,
}

func checkSizes(files []*file) []Finding {
	var out []Finding
	for _, f := range files {
		if n := bytes.Count(f.source, []byte{'\n'}); n > maxFileLines {
			out = append(out, Finding{f.name, n, "size", fmt.Sprintf("file of %d lines, at most %d", n, maxFileLines)})
		}
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.line(fn.End()) - f.line(fn.Pos()) + 1; n > maxFuncLines {
				out = append(out, Finding{f.name, f.line(fn.Pos()), "size", fmt.Sprintf("%s has %d lines, at most %d", fn.Name.Name, n, maxFuncLines)})
			}
		}
	}
	return out
}

// checkDocs wants a doc.go with a package comment in every folder (a command's
// may be in main.go), and a comment on whatever other packages can name.
func checkDocs(files []*file) []Finding {
	has, first := map[string]bool{}, map[string]string{}
	var out []Finding
	for _, f := range files {
		if f.test {
			continue
		}
		dir := path.Dir(f.name)
		if first[dir] == "" {
			first[dir] = f.name
		}
		if base := path.Base(f.name); f.ast.Doc != nil && (base == "doc.go" || base == "main.go" && f.ast.Name.Name == "main") {
			has[dir] = true
		}
		for _, d := range f.ast.Decls {
			for _, id := range undocumented(d) {
				out = append(out, Finding{f.name, f.line(id.Pos()), "doc", id.Name + " is exported and has no comment"})
			}
		}
	}
	for dir, name := range first {
		if !has[dir] {
			out = append(out, Finding{name, 1, "doc", dir + " has no doc.go with a package comment"})
		}
	}
	return out
}

// undocumented lists what a declaration exports without a word. Consts and vars
// may share the comment of their group, and methods that the standard library
// calls need none.
func undocumented(d ast.Decl) (out []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		r := receiver(d)
		if d.Doc == nil && d.Name.IsExported() && (r == "" || ast.IsExported(r)) && !wellKnown[d.Name.Name] {
			out = append(out, d.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					out = append(out, s.Name)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						out = append(out, name)
					}
				}
			}
		}
	}
	return out
}

// wellKnown are methods whose meaning the standard library gives.
var wellKnown = map[string]bool{
	"String": true, "Error": true, "Unwrap": true, "Is": true, "Read": true, "Write": true, "Close": true,
	"MarshalJSON": true, "UnmarshalJSON": true, "MarshalText": true, "UnmarshalText": true, "Len": true, "Less": true, "Swap": true,
}

// checkCalls looks for file access and clock reads where they don't belong.
func checkCalls(files []*file) []Finding {
	var out []Finding
	for _, f := range files {
		if f.test {
			continue
		}
		folder := path.Dir(f.name)
		mayOpen, mayAsk := !anyMatch(filesAllowed, folder), anyMatch(timeless, folder)
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch {
			case mayOpen && pkg.Name == "os" && osFileCalls[sel.Sel.Name]:
				out = append(out, Finding{f.name, f.line(n.Pos()), "files", "os." + sel.Sel.Name + " outside the folders that own files"})
			case mayAsk && pkg.Name == "time" && sel.Sel.Name == "Now":
				out = append(out, Finding{f.name, f.line(n.Pos()), "clock", "time.Now in a pure core"})
			}
			return true
		})
	}
	return out
}

func anyMatch(patterns []string, folder string) bool {
	for _, p := range patterns {
		if matches(p, folder) {
			return true
		}
	}
	return false
}

// banned are words that mark unfinished work, and paths of one machine. The
// pieces are split so that this file doesn't ban itself.
var banned = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|HA` + `CK)\b|\bXX` + `X\b|(?i:\bfor n` + `ow\b|not imple` + `mented|work in pro` + `gress)|(^|[\s"'=(])/(wo` + `rk|ro` + `ot|home/\w+)/`)

func checkWords(name string, text []byte) []Finding {
	var out []Finding
	for i, line := range strings.Split(string(text), "\n") {
		if m := banned.FindString(strings.ReplaceAll(line, "for now :=", "")); m != "" { // a loop over a time is none
			out = append(out, Finding{name, i + 1, "words", "unfinished work or one machine's path: " + strconv.Quote(strings.TrimSpace(m))})
		}
	}
	return out
}

// anchor is `path/file.go:Name` or `path/file.go:(*Type).Name` in a page.
var anchor = regexp.MustCompile("`([\\w./-]+\\.go):(?:\\(\\*?(\\w+)\\)\\.)?(\\w+)`")

// checkAnchors wants every anchor of a page to name a function of the tree.
func checkAnchors(name string, page []byte, files []*file) []Finding {
	known := map[string]bool{}
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				known[f.name+":"+receiver(fn)+"."+fn.Name.Name] = true
			}
		}
	}
	var out []Finding
	for i, line := range strings.Split(string(page), "\n") {
		for _, m := range anchor.FindAllStringSubmatch(line, -1) {
			if !known[m[1]+":"+m[2]+"."+m[3]] {
				out = append(out, Finding{name, i + 1, "anchors", "no such function: " + m[0]})
			}
		}
	}
	return out
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	t := fn.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	switch x := t.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.IndexExpr:
		if id, ok := x.X.(*ast.Ident); ok {
			return id.Name
		}
	}
	return ""
}
