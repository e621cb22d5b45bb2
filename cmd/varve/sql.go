package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func sqlCommand() *cobra.Command {
	var req admin.SQLRequest
	cmd := &cobra.Command{
		Use: "sql QUERY", Short: "Run one SELECT over archive and hot log; topics are tables",
		Long: `Run one SELECT over everything the server has of its topics, archived or not;
every offset counts once. A topic is a table; quote names that aren't words.

  varve sql "select tag, count(*) from orders group by 1"
  varve sql "select decode(body) from orders where store_time > now() - interval 1 hour limit 5"
  varve sql "select * from \"my-topic\" where list_contains(keys, 'order-17')" -o json

QUERY may be "-": standard input. -o is table, json (a line a row) or csv.`,
		Args: cobra.ExactArgs(1), Annotations: map[string]string{moreOutputs: "csv"},
		RunE: func(cmd *cobra.Command, args []string) error {
			req.SQL = args[0]
			if req.SQL == "-" {
				b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<20))
				if err != nil {
					return fmt.Errorf("read the query from standard input: %w", err)
				}
				req.SQL = string(b)
			}
			kind, err := outputKind(cmd)
			if err != nil {
				return err
			}
			return runSQL(cmd, req, rowWriterOf(kind, cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&req.Tenant, "tenant", "", "namespace whose topics are the tables")
	cmd.Flags().IntVar(&req.TimeoutSeconds, "timeout", 0, "seconds, the server's limit where 0")
	cmd.Flags().Int64Var(&req.MaxRows, "max-rows", 0, "most rows, the server's limit where 0")
	return cmd
}

// rowWriter writes an answer in one form.
type rowWriter interface {
	columns([]admin.Column) error
	row([]any) error
	end() error
}

func runSQL(cmd *cobra.Command, req admin.SQLRequest, w rowWriter) error {
	end, err := client(cmd).Query(cmd.Context(), req, w.columns, w.row)
	if err != nil {
		return err
	}
	if err := w.end(); err != nil {
		return err
	}
	rows := "rows"
	if end.Rows == 1 {
		rows = "row"
	}
	note := fmt.Sprintf("%d %s in %.2f s", end.Rows, rows, float64(end.Millis)/1000)
	if end.Truncated != "" {
		note += "; there are more: " + end.Truncated
	}
	fmt.Fprintln(cmd.ErrOrStderr(), note)
	return nil
}

func rowWriterOf(kind string, out io.Writer) rowWriter {
	switch kind {
	case "json":
		return &jsonRows{enc: json.NewEncoder(out)}
	case "csv":
		return &csvRows{w: csv.NewWriter(out)}
	}
	return &tableRows{t: newTable(out)}
}

// jsonRows writes an object a line, columns in their order.
type jsonRows struct {
	enc   *json.Encoder
	names []string
}

func (j *jsonRows) columns(c []admin.Column) error {
	j.enc.SetEscapeHTML(false)
	for _, x := range c {
		j.names = append(j.names, x.Name)
	}
	return nil
}

func (j *jsonRows) row(cells []any) error { return j.enc.Encode(orderedRow{j.names, cells}) }
func (j *jsonRows) end() error            { return nil }

type orderedRow struct {
	names []string
	cells []any
}

// MarshalJSON keeps the columns' order, which a map would lose.
func (o orderedRow) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, c := range o.cells {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(o.names[i]); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(c); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

type csvRows struct{ w *csv.Writer }

func (c *csvRows) columns(cols []admin.Column) error {
	names := make([]string, len(cols))
	for i, x := range cols {
		names[i] = x.Name
	}
	return c.w.Write(names)
}

func (c *csvRows) row(cells []any) error {
	out := make([]string, len(cells))
	for i, x := range cells {
		if x != nil {
			out[i] = cell(x)
		}
	}
	return c.w.Write(out)
}

func (c *csvRows) end() error {
	c.w.Flush()
	return c.w.Error()
}

type tableRows struct{ t *table }

func (h *tableRows) columns(cols []admin.Column) error {
	names := make([]any, len(cols))
	for i, x := range cols {
		names[i] = x.Name
	}
	h.t.row(names...)
	return nil
}

func (h *tableRows) row(cells []any) error {
	out := make([]any, len(cells))
	for i, x := range cells {
		out[i] = "NULL"
		if x != nil {
			out[i] = strings.NewReplacer("\n", " ", "\t", " ", "\r", " ").Replace(cell(x))
		}
	}
	h.t.row(out...)
	return nil
}

func (h *tableRows) end() error { return h.t.w.Flush() }

// cell is one value as text.
func cell(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case json.Number:
		return x.String()
	case bool:
		return fmt.Sprint(x)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
