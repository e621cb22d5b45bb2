package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func schemaCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "schema", Short: "Columns of message bodies: set, show, list, check, apply, remove"}
	cmd.AddCommand(schemaSet(), schemaShow(), &cobra.Command{
		Use: "list", Short: "List the topics that have a schema", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := client(cmd).Schemas(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, all, func(t *table) {
				t.row("TOPIC", "VERSION", "FORMAT", "COLUMNS", "SET")
				for _, s := range all {
					t.row(s.Topic, s.Version, s.Format, len(s.Columns), s.Created)
				}
			})
		},
	}, schemaCheck(), schemaApply(), &cobra.Command{
		Use: "remove TOPIC", Short: "Make no columns of a topic's bodies any more; those of archived messages stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client(cmd).RemoveSchema(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(cmd, map[string]string{"removed": args[0]}, func(t *table) { t.row("removed the schema of " + args[0]) })
		},
	})
	return cmd
}

// schemaFlags are those that describe a schema.
type schemaFlags struct {
	format, file, message string
	rename, drop          []string
}

func (f *schemaFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "json (JSON Schema), avro or protobuf")
	fl.StringVar(&f.file, "file", "", "the schema, - for standard input; for protobuf what protoc --include_imports --descriptor_set_out writes")
	fl.StringVar(&f.message, "message", "", "which message of a protobuf schema the bodies are, such as shop.Order")
	fl.StringArrayVar(&f.rename, "rename", nil, "a column's new name, as OLD=NEW; it keeps its values")
	fl.StringArrayVar(&f.drop, "drop", nil, "a column that shall go")
}

// spec reads the schema that the flags name.
func (f *schemaFlags) spec(cmd *cobra.Command) (admin.SchemaSpec, error) {
	s := admin.SchemaSpec{Format: f.format, Message: f.message, Drop: f.drop, Rename: map[string]string{}}
	if f.format == "" || f.file == "" {
		return s, usageError{fmt.Errorf("--format and --file say what the schema is")}
	}
	for _, r := range f.rename {
		old, to, ok := strings.Cut(r, "=")
		if !ok || old == "" || to == "" {
			return s, usageError{fmt.Errorf("--rename %s: want OLD=NEW", r)}
		}
		s.Rename[old] = to
	}
	var err error
	if f.file == "-" {
		s.Document, err = io.ReadAll(cmd.InOrStdin())
	} else {
		s.Document, err = os.ReadFile(f.file)
	}
	if err != nil {
		return s, usageError{fmt.Errorf("--file: %w", err)}
	}
	return s, nil
}

func schemaSet() *cobra.Command {
	var f schemaFlags
	cmd := &cobra.Command{
		Use: "set TOPIC", Short: "Declare the schema of a topic's bodies, or its next version", Args: cobra.ExactArgs(1),
		Long: `Declare the schema of a topic's bodies, or its next version. Its fields become
typed columns of the topic's table, beside the body. A body that doesn't fit
keeps its row: its columns are null, and body_error says why.

Columns may be added, may go from int to long, from float to double and to a
decimal of more digits, may be renamed (--rename OLD=NEW) and dropped
(--drop NAME). Whatever else a schema would change is refused.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := f.spec(cmd)
			if err != nil {
				return err
			}
			s, err := client(cmd).SetSchema(cmd.Context(), args[0], spec)
			if err != nil {
				return err
			}
			return show(cmd, s, func(t *table) {
				if s.Changed {
					t.row(fmt.Sprintf("version %d of the schema of %s", s.Version, s.Topic))
				} else {
					t.row(fmt.Sprintf("version %d of the schema of %s is in force already", s.Version, s.Topic))
				}
				columnRows(t, s)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func columnRows(t *table, s admin.Schema) {
	t.row("COLUMN", "TYPE", "ID")
	for _, c := range s.Columns {
		t.row(c.Name, c.Type, c.ID)
	}
	for _, l := range s.LeftOut {
		t.row("no column for " + l.Field + ": " + l.Reason)
	}
}

func schemaShow() *cobra.Command {
	document := false
	cmd := &cobra.Command{
		Use: "show TOPIC", Short: "Show a topic's columns and the versions of its schema", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := client(cmd).Schema(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if document {
				_, err := cmd.OutOrStdout().Write(s.Document)
				return err
			}
			return show(cmd, s, func(t *table) {
				t.row("VERSION", "FORMAT", "COLUMNS", "SET")
				for _, v := range s.Versions {
					t.row(v.Version, v.Format, v.Columns, v.Created)
				}
				applyRow(t, s.Apply)
				t.row("")
				columnRows(t, s)
			})
		},
	}
	cmd.Flags().BoolVar(&document, "document", false, "print the schema as it was declared")
	return cmd
}

// applyLook is how often --wait looks.
const applyLook = 300 * time.Millisecond

func schemaApply() *cobra.Command {
	wait := false
	cmd := &cobra.Command{
		Use: "apply TOPIC", Short: "Give what is archived already the columns of the schema, in the background", Args: cobra.ExactArgs(1),
		Long: `Give what was archived before the topic had its schema the columns. Files are
rewritten one by one, slowly, in the background, also over a restart; "schema
show" tells how far that is. Readers notice nothing.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := client(cmd).ApplySchema(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for wait && s.Apply.Running {
				select {
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				case <-time.After(applyLook):
				}
				if s, err = client(cmd).Schema(cmd.Context(), args[0]); err != nil {
					return err
				}
				if s.Apply == nil {
					return fmt.Errorf("the schema of %s is not applied any more: the server was started anew", args[0])
				}
			}
			return show(cmd, s, func(t *table) {
				if s.Apply.Running {
					t.row(fmt.Sprintf("applying version %d of the schema of %s to what is archived", s.Version, s.Topic))
				} else {
					applyRow(t, s.Apply)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "until it is done")
	return cmd
}

// applyRow says how far older files have the columns.
func applyRow(t *table, a *admin.SchemaApply) {
	if a == nil {
		return
	}
	state := "applied"
	if a.Running {
		state = "applying"
	}
	line := fmt.Sprintf("%s to %d of %d archived files", state, a.Done-a.Skipped, a.Files)
	if a.Skipped > 0 {
		line += fmt.Sprintf("; %d are left as they are", a.Skipped)
	}
	if a.Error != "" {
		line += "; the last attempt failed: " + a.Error
	}
	t.row(line)
	for _, l := range a.Left {
		t.row(fmt.Sprintf("left: offsets %d to %d of queue %d of %s: %s", l.From, l.To-1, l.Queue, l.Broker, l.Why))
	}
}

func schemaCheck() *cobra.Command {
	var f schemaFlags
	messages := 0
	cmd := &cobra.Command{
		Use: "check TOPIC", Short: "Try a schema, or the one in force, on a topic's newest messages; sets nothing", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			trial := admin.SchemaTrial{Messages: messages}
			if f.format != "" || f.file != "" {
				var err error
				if trial.SchemaSpec, err = f.spec(cmd); err != nil {
					return err
				}
			}
			r, err := client(cmd).TrySchema(cmd.Context(), args[0], trial)
			if err != nil {
				return err
			}
			return show(cmd, r, func(t *table) {
				t.row(fmt.Sprintf("%d of the newest %d messages fit version %d", r.Fit, r.Tried, r.Version))
				columnRows(t, r.Schema)
				if len(r.Misfits) > 0 {
					t.row("")
					t.row("MESSAGES", "QUEUE", "OFFSET", "REASON")
				}
				for _, m := range r.Misfits {
					t.row(m.Messages, m.Queue, m.Offset, m.Reason)
				}
			})
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&messages, "messages", 0, "how many messages, of all queues; 100 where 0")
	return cmd
}
