package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// moreOutputs is the annotation of a command that has other forms of output
// than table and json.
const moreOutputs = "outputs"

// outputKind is the --output flag, checked.
func outputKind(cmd *cobra.Command) (string, error) {
	kind, _ := cmd.Flags().GetString("output")
	known := append([]string{"table", "json"}, strings.Fields(cmd.Annotations[moreOutputs])...)
	for _, k := range known {
		if k == kind {
			return kind, nil
		}
	}
	return "", usageError{fmt.Errorf("--output %q is none of %s", kind, strings.Join(known, ", "))}
}

// show prints v as JSON, or what human writes as a table.
func show(cmd *cobra.Command, v any, human func(t *table)) error {
	kind, err := outputKind(cmd)
	if err != nil {
		return err
	}
	if kind == "json" {
		return writeJSON(cmd.OutOrStdout(), v)
	}
	t := newTable(cmd.OutOrStdout())
	human(t)
	return t.w.Flush()
}

func writeJSON(w io.Writer, v any) error {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Slice && r.IsNil() {
		v = []struct{}{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table writes aligned columns.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) *table {
	return &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

func (t *table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		switch v := c.(type) {
		case time.Time:
			fmt.Fprint(t.w, clock(v))
		default:
			fmt.Fprint(t.w, oneLine(fmt.Sprint(v)))
		}
	}
	fmt.Fprintln(t.w)
}

// oneLine shows control characters, so that no text that somebody chose looks
// like another row.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// clock is a time as tables show it.
func clock(t time.Time) string {
	if t.IsZero() || t.UnixMilli() == 0 {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05.000")
}

// size is a number of bytes as tables show it.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
