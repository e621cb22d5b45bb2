package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Finding is one broken rule at one place.
type Finding struct {
	File string
	Line int
	Rule string
	Text string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Rule, f.Text)
}

// file is one Go source file of the tree, its name slash-separated and
// relative to the root.
type file struct {
	name    string
	test    bool
	source  []byte
	fset    *token.FileSet
	ast     *ast.File
	imports []imported
}

type imported struct {
	path string
	line int
}

func (f *file) line(p token.Pos) int { return f.fset.Position(p).Line }

// skipDir tells which folders are not this module's source: test data,
// hidden folders, and modules of their own.
func skipDir(root, p string, d fs.DirEntry) bool {
	n := d.Name()
	if p == root {
		return false
	}
	if n == "testdata" || n == "varve-data" || strings.HasPrefix(n, ".") || strings.HasPrefix(n, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(p, "go.mod"))
	return err == nil
}

// load parses every Go file below root.
func load(root string) ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipDir(root, p, d) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parse(root, p)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree at %s: %w", root, err)
	}
	sort.Slice(files, func(i, j int) bool { return files[i].name < files[j].name })
	return files, nil
}

func parse(root, p string) (*file, error) {
	src, err := os.ReadFile(p)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return nil, err
	}
	f := &file{name: filepath.ToSlash(rel), source: src, fset: token.NewFileSet(), test: strings.HasSuffix(p, "_test.go")}
	f.ast, err = parser.ParseFile(f.fset, p, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", f.name, err)
	}
	for _, s := range f.ast.Imports {
		path, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("import %s of %s: %w", s.Path.Value, f.name, err)
		}
		f.imports = append(f.imports, imported{path, f.line(s.Pos())})
	}
	return f, nil
}
