package worker

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"varve/query/wire"
)

// Columns that a table can be pruned by.
const (
	colStoreTime   = "store_time"
	colQueueOffset = "queue_offset"
	colQueueID     = "queue_id"
	colBroker      = "broker"
)

// bound finds what the WHERE of a SELECT says about the tables of its FROM and
// marks them with it. It does nothing where a condition might not mean what it
// seems to.
func (w *walker) bound(ctx context.Context, n obj, ctes []string) {
	where, ok := n["where_clause"].(obj)
	if !ok || n["sample"] != nil {
		return
	}
	var tables []obj
	from, _ := n["from_table"].(obj)
	if !joined(from, ctes, &tables) {
		return
	}
	for _, t := range tables {
		if t["sample"] != nil || len(list(t["column_name_alias"])) > 0 {
			continue
		}
		p := pruner{ctx: ctx, consts: w.consts, alias: str(t["alias"]), alone: len(tables) == 1}
		if p.alias == "" {
			p.alias = str(t["table_name"])
		}
		for _, item := range list(n["select_list"]) {
			if e, ok := item.(obj); ok && str(e["alias"]) != "" {
				p.shadowed = append(p.shadowed, strings.ToLower(str(e["alias"])))
			}
		}
		t[boundsKey] = p.bounds(where)
	}
}

// joined collects the base tables of a FROM, and reports whether it is made of
// topics and joins only that a WHERE applies to the result of, row by row.
func joined(from obj, ctes []string, tables *[]obj) bool {
	switch str(from["type"]) {
	case "BASE_TABLE":
		*tables = append(*tables, from)
		return str(from["schema_name"]) != "" || !slices.Contains(ctes, strings.ToLower(str(from["table_name"])))
	case "JOIN":
		left, _ := from["left"].(obj)
		right, _ := from["right"].(obj)
		kind, how := str(from["join_type"]), str(from["ref_type"])
		return (kind == "INNER" || kind == "LEFT") && (how == "REGULAR" || how == "CROSS" || how == "NATURAL") &&
			from["sample"] == nil && joined(left, ctes, tables) && joined(right, ctes, tables)
	}
	return false
}

// pruner reads conditions about one table.
type pruner struct {
	ctx      context.Context
	consts   *constants
	alias    string
	alone    bool     // names without a qualifier are of this table
	shadowed []string // names that the SELECT gives to other things
}

// bounds gives a hull around the rows for which a condition can be true.
func (p *pruner) bounds(e obj) wire.Bounds {
	switch str(e["type"]) {
	case "CONJUNCTION_AND":
		b := wire.Unbounded()
		for _, c := range list(e["children"]) {
			child, _ := c.(obj)
			b = b.Intersect(p.bounds(child))
		}
		return b
	case "CONJUNCTION_OR":
		var b wire.Bounds
		for i, c := range list(e["children"]) {
			child, _ := c.(obj)
			if i == 0 {
				b = p.bounds(child)
				continue
			}
			b = b.Hull(p.bounds(child))
		}
		return b
	case "COMPARE_BETWEEN":
		return p.between(e)
	case "COMPARE_IN":
		return p.in(e)
	}
	if str(e["class"]) == "COMPARISON" {
		return p.comparison(e)
	}
	return wire.Unbounded()
}

var mirrored = map[string]string{
	"COMPARE_EQUAL":                "COMPARE_EQUAL",
	"COMPARE_LESSTHAN":             "COMPARE_GREATERTHAN",
	"COMPARE_GREATERTHAN":          "COMPARE_LESSTHAN",
	"COMPARE_LESSTHANOREQUALTO":    "COMPARE_GREATERTHANOREQUALTO",
	"COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}

func (p *pruner) comparison(e obj) wire.Bounds {
	op := str(e["type"])
	left, _ := e["left"].(obj)
	right, _ := e["right"].(obj)
	if mirrored[op] == "" {
		return wire.Unbounded()
	}
	c, ok := p.column(left)
	if !ok {
		if c, ok = p.column(right); !ok {
			return wire.Unbounded()
		}
		right, op = left, mirrored[op]
	}
	if c.name == colBroker {
		s, ok := p.consts.text(p.ctx, right)
		if op != "COMPARE_EQUAL" || !ok {
			return wire.Unbounded()
		}
		return brokers(s)
	}
	v, ok := p.value(c, right)
	if !ok {
		return wire.Unbounded()
	}
	switch op {
	case "COMPARE_LESSTHAN", "COMPARE_LESSTHANOREQUALTO":
		v.Low = math.MinInt64
	case "COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO":
		v.High = math.MaxInt64
	}
	return c.limit(v)
}

func (p *pruner) between(e obj) wire.Bounds {
	input, _ := e["input"].(obj)
	lower, _ := e["lower"].(obj)
	upper, _ := e["upper"].(obj)
	c, ok := p.column(input)
	if !ok || c.name == colBroker {
		return wire.Unbounded()
	}
	v := wire.All
	if low, ok := p.value(c, lower); ok {
		v.Low = low.Low
	}
	if high, ok := p.value(c, upper); ok {
		v.High = high.High
	}
	return c.limit(v)
}

func (p *pruner) in(e obj) wire.Bounds {
	children := list(e["children"])
	if len(children) < 2 {
		return wire.Unbounded()
	}
	first, _ := children[0].(obj)
	c, ok := p.column(first)
	if !ok {
		return wire.Unbounded()
	}
	var out wire.Bounds
	for i, v := range children[1:] {
		v, _ := v.(obj)
		b := p.comparison(obj{"type": "COMPARE_EQUAL", "left": first, "right": v})
		if c.name == colQueueID && b.QueueID.Low == b.QueueID.High {
			b.QueueIDs = []int64{b.QueueID.Low}
		}
		if i == 0 {
			out = b
			continue
		}
		out = out.Hull(b)
	}
	return out
}

// column is a column of the table in a condition.
type column struct {
	name string
	day  bool // the column's date is compared, not the column
}

func (p *pruner) column(e obj) (column, bool) {
	if str(e["type"]) == "OPERATOR_CAST" {
		typ, _ := e["cast_type"].(obj)
		child, _ := e["child"].(obj)
		c, ok := p.column(child)
		if ok && c.name == colStoreTime && !c.day && str(typ["id"]) == "DATE" {
			return column{c.name, true}, true
		}
		return column{}, false
	}
	names := list(e["column_names"])
	if str(e["type"]) != "COLUMN_REF" || len(names) == 0 || len(names) > 2 {
		return column{}, false
	}
	name := strings.ToLower(str(names[len(names)-1]))
	if len(names) == 2 && !strings.EqualFold(str(names[0]), p.alias) ||
		len(names) == 1 && (!p.alone || slices.Contains(p.shadowed, name)) {
		return column{}, false
	}
	switch name {
	case colStoreTime, colQueueOffset, colQueueID, colBroker:
		return column{name: name}, true
	}
	return column{}, false
}

// limit gives bounds that hold the column to an interval.
func (c column) limit(v wire.Interval) wire.Bounds {
	b := wire.Unbounded()
	switch c.name {
	case colStoreTime:
		b.StoreMillis = v
	case colQueueOffset:
		b.Offset = v
	default:
		b.QueueID = v
	}
	return b
}

func brokers(name string) wire.Bounds {
	b := wire.Unbounded()
	b.Brokers = []string{name}
	return b
}

const dayMillis = 24 * 60 * 60 * 1000

// value evaluates what a column is compared with, as an interval around it in
// the column's unit.
func (p *pruner) value(c column, e obj) (wire.Interval, bool) {
	if c.name != colStoreTime {
		f, ok := p.consts.number(p.ctx, e)
		if !ok || math.Abs(f) > 1<<53 {
			return wire.Interval{}, false
		}
		return wire.Interval{Low: int64(math.Floor(f)), High: int64(math.Ceil(f))}, true
	}
	ms, ok := p.consts.millis(p.ctx, e, c.day)
	if !ok {
		return wire.Interval{}, false
	}
	if c.day {
		return wire.Interval{Low: ms, High: ms + dayMillis}, true
	}
	return wire.Interval{Low: ms - 1, High: ms + 1}, true // the rest of a millisecond, either way
}

// constants evaluates constant expressions of the query's text. Each is tried
// first where its failure does no harm; what failed stays unknown.
type constants struct {
	s     *session
	known map[string]string   // value by SQL
	may   map[string]struct{} // what succeeded before settle; nil until then
}

func newConstants(s *session) *constants { return &constants{s: s, known: map[string]string{}} }

// settle makes what succeeded be evaluated once more, in the transaction that
// the query will run in, and nothing else: a failure would end it.
func (c *constants) settle() {
	c.may = map[string]struct{}{}
	for q := range c.known {
		c.may[q] = struct{}{}
	}
	clear(c.known)
}

func (c *constants) text(ctx context.Context, e obj) (string, bool) {
	return c.eval(ctx, e, "CAST((", ") AS VARCHAR)")
}

func (c *constants) number(ctx context.Context, e obj) (float64, bool) {
	s, ok := c.eval(ctx, e, "TRY_CAST((", ") AS DOUBLE)")
	if !ok {
		return 0, false
	}
	f, err := json.Number(s).Float64()
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

func (c *constants) millis(ctx context.Context, e obj, day bool) (int64, bool) {
	before, after := "epoch_ms(CAST((", ") AS TIMESTAMPTZ))"
	if day {
		before, after = "epoch_ms(CAST(CAST((", ") AS DATE) AS TIMESTAMPTZ))"
	}
	s, ok := c.eval(ctx, e, before, after)
	if !ok {
		return 0, false
	}
	i, err := json.Number(s).Int64()
	return i, err == nil && i > math.MinInt64/2 && i < math.MaxInt64/2
}

func (c *constants) eval(ctx context.Context, e obj, before, after string) (string, bool) {
	if !constant(e, 0) {
		return "", false
	}
	tree, err := json.Marshal(obj{"error": false, "statements": []any{obj{"node": obj{
		"type": "SELECT_NODE", "modifiers": []any{}, "cte_map": obj{"map": []any{}}, "select_list": []any{e},
		"from_table":   obj{"type": "EMPTY", "alias": "", "sample": nil, "query_location": 0},
		"where_clause": nil, "group_expressions": []any{}, "group_sets": []any{}, "aggregate_handling": "STANDARD_HANDLING",
		"having": nil, "sample": nil, "qualify": nil,
	}, "named_param_map": []any{}}}})
	if err != nil {
		return "", false
	}
	sql, ok, err := c.s.text(ctx, "SELECT json_deserialize_sql("+literal(string(tree))+")::VARCHAR")
	if err != nil || !ok || !strings.HasPrefix(sql, "SELECT ") {
		return "", false
	}
	q := "SELECT CAST(TRY(" + before + strings.TrimPrefix(sql, "SELECT ") + after + ") AS VARCHAR)"
	if v, ok := c.known[q]; ok {
		return v, true
	}
	if _, ok := c.may[q]; c.may != nil && !ok {
		return "", false
	}
	v, ok, err := c.s.text(ctx, q)
	if err != nil || !ok {
		return "", false
	}
	c.known[q] = v
	return v, true
}

// constantFunctions are safe to run before the lock.
var constantFunctions = []string{
	"now", "today", "current_date", "current_timestamp", "get_current_timestamp", "transaction_timestamp", "+", "-", "*", "/", "trunc",
	"to_seconds", "to_minutes", "to_hours", "to_days", "to_weeks", "to_months", "to_years", "to_milliseconds", "to_microseconds",
	"date_trunc", "to_timestamp", "make_date", "make_timestamp", "make_timestamptz", "epoch_ms",
}

// maxConstantDepth bounds how deep a constant expression is looked into.
const maxConstantDepth = 32

// constant reports whether an expression is made of literals, casts and
// constantFunctions only.
func constant(e obj, depth int) bool {
	if depth > maxConstantDepth {
		return false
	}
	switch str(e["class"]) {
	case "CONSTANT":
		return true
	case "CAST":
		child, _ := e["child"].(obj)
		return constant(child, depth+1)
	case "COLUMN_REF":
		names := list(e["column_names"])
		if len(names) != 1 {
			return false
		}
		name := strings.ToLower(str(names[0]))
		return name == "current_timestamp" || name == "current_date"
	case "FUNCTION":
		if !slices.Contains(constantFunctions, strings.ToLower(str(e["function_name"]))) || e["filter"] != nil {
			return false
		}
		for _, c := range list(e["children"]) {
			if child, ok := c.(obj); !ok || !constant(child, depth+1) {
				return false
			}
		}
		return true
	}
	return false
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}
