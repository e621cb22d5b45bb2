package main

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"varve/internal/archive"
	"varve/internal/config"
)

var update = flag.Bool("update", false, "write docs/ops/settings.md and docs/ops/commands.md")

// root is where the repository begins.
var root = filepath.Join("..", "..")

// known is what the documentation may name.
type known struct {
	commands *cobra.Command
	settings map[string]string // key → default
	groups   []string          // first words of the keys that have several
	values   []config.Value
}

func newKnown(t *testing.T) *known {
	t.Helper()
	l, err := config.Load("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	k := &known{commands: newRoot(), settings: map[string]string{}, values: l.Values}
	for _, v := range l.Values {
		k.settings[v.Key] = v.Value
		if group, _, ok := strings.Cut(v.Key, "."); ok && !slices.Contains(k.groups, group) {
			k.groups = append(k.groups, group)
		}
	}
	return k
}

// inTable is a text in a Markdown table.
func inTable(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func (k *known) settingsPage() string {
	var b strings.Builder
	b.WriteString("# Settings\n\nWritten by `go test ./cmd/varve -run TestPages -update`. `varve config` prints the effective ones and where each comes from.\n\n" +
		"A key is the same word in the file, in the environment (`VARVE_HOT_FLUSH`) and as a flag (`--hot.flush`).\n\n| key | default | meaning |\n|---|---|---|\n")
	for _, v := range k.values {
		def := ""
		if v.Value != "" {
			def = "`" + v.Value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Key, inTable(def), inTable(v.Help))
	}
	return b.String()
}

func (k *known) commandsPage() string {
	var b strings.Builder
	b.WriteString("# Commands\n\nWritten by `go test ./cmd/varve -run TestPages -update`. Every command takes `--output json`, and `--server` where it asks one;\n" +
		"`server` and `config` take every [setting](settings.md) as a flag too.\n")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.Hidden || sub.Name() == "help" || sub.Name() == "completion" {
				continue
			}
			if sub.HasSubCommands() {
				walk(sub)
				continue
			}
			fmt.Fprintf(&b, "\n## %s\n%s.\n", strings.TrimSuffix(sub.UseLine(), " [flags]"), sub.Short)
			sub.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
				if _, setting := k.settings[f.Name]; setting || f.Name == "help" {
					return
				}
				name, usage := pflag.UnquoteUsage(f)
				if d := f.DefValue; f.Name != "config" && !slices.Contains([]string{"", "0", "0s", "false", "[]", "-1"}, d) {
					usage += "; " + d + " where it isn't given"
				}
				fmt.Fprintf(&b, "- `%s`: %s\n", strings.TrimSpace("--"+f.Name+" "+name), usage)
			})
		}
	}
	walk(k.commands)
	return b.String()
}

// TestPages holds the pages of settings and commands to the program.
func TestPages(t *testing.T) {
	k := newKnown(t)
	for name, want := range map[string]string{"settings.md": k.settingsPage(), "commands.md": k.commandsPage()} {
		p := filepath.Join(root, "docs", "ops", name)
		if *update {
			if err := os.WriteFile(p, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(p); err != nil || string(have) != want {
			t.Errorf("docs/ops/%s is not what the program has (%v): go test ./cmd/varve -run TestPages -update", name, err)
		}
	}
}

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	variable = regexp.MustCompile(`\bVARVE_[A-Z0-9_]*`)
	metric   = regexp.MustCompile(`\bvarve_[a-z_]+`)
	dotted   = regexp.MustCompile(`^-{0,2}([a-z]+)\.[a-z0-9.-]+$`)
)

// problems lists what a page names that the program doesn't have.
func (k *known) problems(page string) (out []string) {
	fenced := false
	for i, line := range strings.Split(page, "\n") {
		bad := func(format string, args ...any) {
			out = append(out, fmt.Sprintf("line %d: ", i+1)+fmt.Sprintf(format, args...))
		}
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		code := []string{line}
		if !fenced {
			code = nil
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				code = append(code, m[1])
			}
		}
		for _, v := range variable.FindAllString(line, -1) {
			if !k.variable(v) && v != archive.PropErased { // a property of messages
				bad("no variable %s", v)
			}
		}
		for _, c := range code {
			word, _, _ := strings.Cut(c, ": ")
			if m := dotted.FindStringSubmatch(word); m != nil && slices.Contains(k.groups, m[1]) && path.Ext(word) != ".go" && !k.setting(strings.TrimLeft(word, "-")) {
				bad("no setting %s", word)
			}
			if why := k.command(c); why != "" {
				bad("%s in %q", why, c)
			}
		}
	}
	return out
}

func (k *known) variable(name string) bool {
	if name == config.EnvPrefix || name == config.EnvFile || slices.Contains(clientEnv, name) {
		return true
	}
	for key := range k.settings {
		if config.EnvPrefix+strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key)) == name {
			return true
		}
	}
	return false
}

// setting reports whether there is such a key, or a group of keys.
func (k *known) setting(key string) bool {
	for have := range k.settings {
		if have == key || strings.HasPrefix(have, key+".") {
			return true
		}
	}
	return false
}

// command tells what is wrong with a call of varve, "" where nothing is or
// where the code is none.
func (k *known) command(code string) string {
	words := strings.Fields(code)
	at := slices.IndexFunc(words, func(w string) bool { return w == "varve" || strings.HasSuffix(w, "bin/varve") })
	if at < 0 || at > 0 && words[at-1] != "|" || at+1 == len(words) {
		return ""
	}
	c := k.commands
	for _, w := range words[at+1:] {
		switch name, isFlag := strings.CutPrefix(w, "--"); {
		case w == "|" || w == ">" || w == "#":
			return ""
		case isFlag:
			name, _, _ = strings.Cut(name, "=")
			if name != "help" && c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil {
				return fmt.Sprintf("%s has no flag --%s", c.CommandPath(), name)
			}
		case c.HasSubCommands():
			var sub *cobra.Command
			for _, one := range strings.Split(w, "|") {
				if sub = find(c, one); sub == nil && one != "…" {
					return fmt.Sprintf("%s has no command %s", c.CommandPath(), one)
				}
			}
			if strings.ContainsAny(w, "|…") {
				return ""
			}
			c = sub
		}
	}
	return ""
}

func find(c *cobra.Command, name string) *cobra.Command {
	for _, sub := range c.Commands() {
		if sub.Name() == name {
			return sub
		}
	}
	return nil
}

// TestDocsNameWhatExists looks for commands, flags, settings, variables and metrics in
// the documentation that the program doesn't have.
func TestDocsNameWhatExists(t *testing.T) {
	k := newKnown(t)
	pages := []string{"README.md", "CONTRIBUTING.md"}
	// Formats have names of their own, and decisions are never rewritten.
	for _, pattern := range []string{"docs/*.md", "docs/ops/*.md", "docs/bench/*.md", "docs/compat/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			pages = append(pages, strings.TrimPrefix(filepath.ToSlash(p), "../../"))
		}
	}
	metrics, err := os.ReadFile(filepath.Join(root, "internal", "obs", "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range k.problems(string(text)) {
			t.Errorf("%s: %s", page, p)
		}
		for _, m := range metric.FindAllString(string(text), -1) {
			if !strings.Contains(string(metrics), `"`+m+`"`) {
				t.Errorf("%s: no metric %s", page, m)
			}
		}
	}
	bad := "`hot.flsh` `--hot.flsh` VARVE_HOT_FLSH `varve topics list` `varve topic lst` `varve topic list --al`\n```sh\nseq 3 | bin/varve message sned\n```\n"
	if got := k.problems(bad); len(got) != 7 {
		t.Errorf("of seven mistakes these are found: %q", got)
	}
	good := "`hot.flush: sync` `archive.s3` `hot.go` VARVE_HOT_FLUSH `VARVE_…` `varve topic|group …` `varve sql --help`\n"
	if got := k.problems(good); len(got) != 0 {
		t.Errorf("no mistakes, and these are found: %q", got)
	}
}

// TestFlagsHaveTypes: the help of a flag that takes a value says of what kind.
func TestFlagsHaveTypes(t *testing.T) {
	k := newKnown(t)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if name, _ := pflag.UnquoteUsage(f); name == "" && f.NoOptDefVal == "" {
				t.Errorf("%s --%s: its help has no kind of value", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(k.commands)
}
