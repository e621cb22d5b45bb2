package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"varve/query/wire"
)

const notSelect = "only one SELECT can be run (also WITH, FROM, VALUES, DESCRIBE, SUMMARIZE and SHOW TABLES): nothing here can be changed by SQL"

// tableFunctions may stand in FROM: they read nothing but their arguments.
var tableFunctions = []string{"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"}

// refusedFunctions tell about the machine, or act beyond the query.
var refusedFunctions = []string{"current_setting", "getenv", "write_log", "setseed", "sleep_ms"}

// analysis is what parsing found.
type analysis struct {
	wire.Analysis
	err error
}

// obj is a node of DuckDB's syntax tree as json_serialize_sql writes it.
type obj = map[string]any

// statements parses SQL without running any of it.
func (s *session) statements(ctx context.Context, q string) ([]any, error) {
	text, _, err := s.text(ctx, "SELECT json_serialize_sql("+literal(q)+")::VARCHAR")
	if err != nil {
		return nil, fmt.Errorf("parsing the query: %w", err)
	}
	var tree struct {
		Error      bool   `json:"error"`
		Type       string `json:"error_type"`
		Message    string `json:"error_message"`
		Position   any    `json:"position"`
		Statements []any  `json:"statements"`
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		if e := tooLarge(q, text, err); e != nil {
			return nil, e
		}
		return nil, fmt.Errorf("reading the query's syntax tree: %w", err)
	}
	switch {
	case tree.Error && tree.Type == "parser":
		return nil, syntaxError(q, tree.Message, tree.Position)
	case tree.Error:
		return nil, &wire.Error{Kind: wire.Refused, Message: notSelect}
	}
	return tree.Statements, nil
}

var locations = regexp.MustCompile(`"query_location":(\d+)`)

// tooLarge is the error of a number that is infinite for DuckDB, which is no
// JSON in its tree; nil for any other.
func tooLarge(q, tree string, err error) error {
	var e *json.SyntaxError
	if !errors.As(err, &e) || e.Offset < 1 || e.Offset > int64(len(tree)) {
		return nil
	}
	before, at := tree[:e.Offset-1], tree[e.Offset-1:]
	if !strings.HasPrefix(at, "Infinity") {
		return nil
	}
	var position any
	if all := locations.FindAllStringSubmatch(before, -1); len(all) > 0 {
		position = all[len(all)-1][1]
	}
	return syntaxError(q, "a number is larger than a DOUBLE can be, about 1.8e308", position)
}

// reworded gives messages of DuckDB's that mean nothing to a user, or advise
// what can't be done here, in other words.
func reworded(msg string) string {
	switch {
	case strings.Contains(msg, "NameListToString"):
		return "a name has too many parts: name a topic as topic or tenant.topic"
	case strings.Contains(msg, "Max expression depth limit"):
		return "the query is nested too deeply: at most 1000 expressions may stand one in the other"
	}
	return msg
}

func syntaxError(q, msg string, position any) error {
	e := &wire.Error{Kind: wire.Syntax, Message: reworded(msg)}
	var at int
	if _, err := fmt.Sscan(fmt.Sprint(position), &at); err == nil && at >= 0 && at <= len(q) {
		e.Position = at + 1
		line := 1 + strings.Count(q[:at], "\n")
		col := at - strings.LastIndexByte(q[:at], '\n')
		e.Message += fmt.Sprintf(" (line %d, column %d)", line, col)
	}
	return e
}

// onlySelect refuses what is not exactly one SELECT.
func (s *session) onlySelect(ctx context.Context, q string) error {
	st, err := s.statements(ctx, q)
	if err != nil {
		return err
	}
	if len(st) != 1 {
		return &wire.Error{Kind: wire.Refused, Message: fmt.Sprintf("%d statements; %s", len(st), notSelect)}
	}
	return nil
}

// analyse parses the query, refuses what it may not do, and finds its tables
// and what bounds them. From here to the end all is one transaction, so that
// now() is one.
func (s *session) analyse(ctx context.Context) (*analysis, error) {
	if strings.Trim(s.hello.SQL, " \t\r\n;") == "" {
		return nil, &wire.Error{Kind: wire.Syntax, Message: "the query is empty", Position: 1}
	}
	if i := strings.IndexByte(s.hello.SQL, 0); i >= 0 {
		return nil, &wire.Error{Kind: wire.Syntax, Message: "the query contains a zero byte", Position: i + 1}
	}
	if err := s.onlySelect(ctx, s.hello.SQL); err != nil {
		return nil, err
	}
	st, err := s.statements(ctx, s.hello.SQL)
	if err != nil {
		return nil, err
	}
	consts := newConstants(s)
	first := walker{consts: consts, a: &analysis{}}
	first.walk(ctx, clone(st[0]), nil)
	if first.a.err != nil {
		return nil, first.a.err
	}
	if err := s.exec(ctx, "BEGIN TRANSACTION"); err != nil {
		return nil, err
	}
	// The second pass evaluates what depends on now() again, inside.
	consts.settle()
	columns, words := columnsOf(st[0])
	w := walker{consts: consts, a: &analysis{}}
	w.walk(ctx, st[0], nil)
	for i := range w.a.Tables {
		w.a.Tables[i].Columns, w.a.Tables[i].Words = columns, words
	}
	return w.a, w.a.err
}

// walker goes through a syntax tree.
type walker struct {
	consts *constants
	a      *analysis
}

func (w *walker) fail(kind wire.Kind, node obj, format string, args ...any) {
	if w.a.err == nil {
		w.a.err = &wire.Error{Kind: kind, Message: fmt.Sprintf(format, args...), Position: position(node) + 1}
	}
}

// walk visits a node and all below it. ctes are the names of the common table
// expressions in scope, in lower case.
func (w *walker) walk(ctx context.Context, n any, ctes []string) {
	switch n := n.(type) {
	case []any:
		for _, e := range n {
			w.walk(ctx, e, ctes)
		}
	case obj:
		ctes = w.scope(ctx, n, ctes)
		w.visit(ctx, n, ctes)
		for _, k := range slices.Sorted(maps.Keys(n)) {
			if k != "cte_map" {
				w.walk(ctx, n[k], ctes)
			}
		}
	}
}

// scope walks a node's common table expressions and adds their names. Each
// sees those before it; a recursive one sees itself.
func (w *walker) scope(ctx context.Context, n obj, ctes []string) []string {
	m, _ := n["cte_map"].(obj)
	entries, _ := m["map"].([]any)
	for _, e := range entries {
		entry, _ := e.(obj)
		name := strings.ToLower(str(entry["key"]))
		value, _ := entry["value"].(obj)
		query, _ := value["query"].(obj)
		node, _ := query["node"].(obj)
		inner := ctes
		if str(node["type"]) == "RECURSIVE_CTE_NODE" {
			inner = append(slices.Clip(ctes), name)
		}
		w.walk(ctx, value, inner)
		ctes = append(slices.Clip(ctes), name)
	}
	return ctes
}

func (w *walker) visit(ctx context.Context, n obj, ctes []string) {
	switch str(n["type"]) {
	case "SELECT_NODE":
		w.bound(ctx, n, ctes)
	case "BASE_TABLE":
		w.table(n, ctes)
	case "SHOW_REF":
		w.show(n)
	case "TABLE_FUNCTION":
		f, _ := n["function"].(obj)
		if name := strings.ToLower(str(f["function_name"])); !slices.Contains(tableFunctions, name) {
			w.fail(wire.Refused, n, "the table function %s can't be used here: tables are topics, and nothing else can be read", name)
		}
	case "FUNCTION":
		if name := strings.ToLower(str(n["function_name"])); slices.Contains(refusedFunctions, name) {
			w.fail(wire.Refused, n, "the function %s can't be used here", name)
		}
	}
}

func (w *walker) show(n obj) {
	switch {
	case str(n["show_type"]) == "DESCRIBE", str(n["show_type"]) == "SUMMARY":
	case strings.Trim(str(n["table_name"]), `"`) == "tables":
		w.a.ShowTables = true
	default:
		w.fail(wire.Refused, n, "only SHOW TABLES can be shown")
	}
}

// boundsKey is where bound leaves a table's bounds for table to find.
const boundsKey = "varve_bounds"

func (w *walker) table(n obj, ctes []string) {
	name, schema := str(n["table_name"]), str(n["schema_name"])
	if schema == "" && slices.Contains(ctes, strings.ToLower(name)) {
		return
	}
	if c := str(n["catalog_name"]); c != "" {
		w.fail(wire.UnknownTable, n, "there is no table %s.%s.%s: name a topic as topic or tenant.topic", c, schema, name)
		return
	}
	switch strings.ToLower(schema) {
	case "information_schema", "pg_catalog":
		w.fail(wire.Refused, n, "%s is not available: use SHOW TABLES and DESCRIBE", schema)
		return
	}
	b, ok := n[boundsKey].(wire.Bounds)
	if !ok {
		b = wire.Unbounded()
	}
	for i := range w.a.Tables {
		t := &w.a.Tables[i]
		if strings.EqualFold(t.Name, name) && strings.EqualFold(t.Schema, schema) {
			if t.Name != name || t.Schema != schema {
				w.fail(wire.Refused, n, "%s and %s differ in case only, which one query can't tell apart", t.Name, name)
			}
			t.Bounds = t.Bounds.Hull(b)
			return
		}
	}
	w.a.Tables = append(w.a.Tables, wire.TableRef{Schema: schema, Name: name, Position: position(n) + 1, Bounds: b})
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// position is where a node stands in the SQL, -1 where the tree doesn't say.
func position(n obj) int {
	num, _ := n["query_location"].(json.Number)
	p, err := num.Int64()
	if err != nil || p > 1<<31 {
		return -1
	}
	return int(p)
}

// clone copies a tree, so that a walk can leave marks in it.
func clone(n any) any {
	switch n := n.(type) {
	case []any:
		out := make([]any, len(n))
		for i, e := range n {
			out[i] = clone(e)
		}
		return out
	case obj:
		out := make(obj, len(n))
		for k, v := range n {
			out[k] = clone(v)
		}
		return out
	}
	return n
}

// trimEnd cuts the semicolon that ends the only statement of q, and what
// stands behind it.
func trimEnd(q string) string {
	for i := 0; i < len(q); {
		switch rest := q[i:]; {
		case rest[0] == ';':
			return q[:i]
		case rest[0] == '\'' || rest[0] == '"':
			i += skipQuoted(rest, rest[:1])
		case rest[0] == '$':
			i += skipDollar(rest)
		case strings.HasPrefix(rest, "--"):
			i += skipTo(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			i += skipTo(rest, "*/")
		default:
			i++
		}
	}
	return q
}

func skipTo(s, end string) int {
	if j := strings.Index(s[2:], end); j >= 0 {
		return j + 2 + len(end)
	}
	return len(s)
}

// skipQuoted measures a quoted text; a doubled quote comes out as two texts.
func skipQuoted(s, quote string) int {
	if j := strings.Index(s[len(quote):], quote); j >= 0 {
		return j + 2*len(quote)
	}
	return len(s)
}

// skipDollar measures $tag$…$tag$, or a lone dollar.
func skipDollar(s string) int {
	for j := 1; j < len(s); j++ {
		c := s[j]
		if c == '$' {
			return skipQuoted(s, s[:j+1])
		}
		if c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			break
		}
	}
	return 1
}
