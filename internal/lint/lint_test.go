package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProject holds this repository to every rule.
func TestProject(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, f := range check(t, root, "varve", table) {
		t.Error(f)
	}
}

// TestBadTree makes sure that every rule still fires.
func TestBadTree(t *testing.T) {
	got := map[string]bool{}
	var all []string
	for _, f := range check(t, filepath.Join("testdata", "bad"), "bad", []rule{
		{folder: "hot"}, {folder: "broker"}, {folder: "internal/mq"}, {folder: "cmd/varve", local: []string{"..."}},
	}) {
		key := f.Rule + " " + f.File
		got[key] = true
		all = append(all, f.String())
	}
	for _, want := range []string{
		"imports hot/hot.go",        // hot imports broker
		"imports hot/lib.go",        // a big library outside its place
		"imports stray/stray.go",    // a folder that no row lists
		"imports broker/up_test.go", // a test that imports a command
		"size broker/long.go",
		"doc hot/hot.go",           // a folder without a package comment
		"doc broker/long.go",       // a package comment outside doc.go
		"doc internal/mq/clock.go", // an exported variable without a comment
		"files broker/long.go",
		"clock internal/mq/clock.go",
		"words docs/page.md",
		"anchors docs/paths.md",
	} {
		if !got[want] {
			t.Errorf("no finding %q in:\n%s", want, strings.Join(all, "\n"))
		}
	}
}

func check(t *testing.T, root, module string, rows []rule) []Finding {
	t.Helper()
	files, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	out := checkImports(module, rows, files)
	out = append(out, checkSizes(files)...)
	out = append(out, checkDocs(files)...)
	out = append(out, checkCalls(files)...)
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != root && (name == "testdata" || name == "varve-data" || name == "node_modules" || (strings.HasPrefix(name, ".") && name != ".ci")) {
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(name) {
		case ".go", ".md", ".yml", ".yaml", ".sh", ".txtar", "":
		default:
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if len(text) < 2<<20 {
			out = append(out, checkWords(rel, text)...)
		}
		if strings.HasSuffix(rel, "paths.md") {
			out = append(out, checkAnchors(rel, text, files)...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
