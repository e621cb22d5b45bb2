package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/app"
	"varve/internal/archive"
	"varve/internal/archive/audit"
	"varve/internal/config"
	"varve/internal/proof"
)

// errDoubt is the exit of an audit that found something.
var errDoubt = errors.New("the archive is not as it was signed")

func archiveVerify() *cobra.Command {
	var topics []string
	var keyFile, since string
	parallel, compare := 0, true
	cmd := &cobra.Command{
		Use: "verify", Short: "Check the archive against its proof: every row, chain, head and signature",
		Long: `Read every message of the archive and check it against the signed heads. Needs
the bucket and the public key, no server and no data directory: --archive.dir or
the archive.s3 settings say where it is. Writes nothing.

Exit code 0 says that there is no doubt; what is not covered is listed. Keep the
report (-o json) and give it to a later run as --since: then history that was put
back to an older state shows too, of the topics that both looked at.

Exit code 1 with a report is a doubt, 1 without one a run that failed. A topic or
a place that has no archive is 3, unless the report given as --since had the
topic: then that it is gone is a doubt.`,
		Args: cobra.NoArgs,
	}
	configFlags(cmd)
	cmd.Flags().StringSliceVar(&topics, "topic", nil, "topic to verify; all where not given")
	cmd.Flags().StringVar(&keyFile, "public-key", "", "PEM file of the public key, or of all that were in use; without it signatures are not checked")
	cmd.Flags().StringVar(&since, "since", "", "earlier report (-o json): what it had must still be there, but for what retention removed")
	cmd.Flags().IntVar(&parallel, "parallel", 0, "files read at a time; the processors where 0")
	cmd.Flags().BoolVar(&compare, "typed", true, "compare the columns made of bodies with the bodies, by the schemas in the bucket; their checksums are compared without it too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o := audit.Options{Topics: topics, Parallel: parallel}
		if parallel < 0 {
			return usageError{fmt.Errorf("--parallel %d: want a number of files, or 0 for as many as there are processors", parallel)}
		}
		var err error
		if o.Keys, err = publicKeys(keyFile); err != nil {
			return err
		}
		if since != "" {
			if o.Since, err = readReport(since); err != nil {
				return err
			}
		}
		a, err := openToRead(cmd)
		if err != nil {
			return err
		}
		o.NotTyped, o.Layouts = !compare, app.NewArchivedSchemas(a.Bucket()).Layout
		rep, err := audit.Run(cmd.Context(), a, o)
		if err != nil {
			return err
		}
		if err := show(cmd, rep, func(t *table) { showReport(t, rep, since != "") }); err != nil {
			return err
		}
		return verdict(rep)
	}
	return cmd
}

// unsignedNamed bounds the topics that a verdict names.
const unsignedNamed = 5

// verdict is the error of an audit with doubts. An archive that was never signed
// isn't like one that was changed.
func verdict(rep *audit.Report) error {
	if rep.OK {
		return nil
	}
	var unsigned []string
	for _, d := range rep.Doubts {
		if !d.Unsigned {
			unsigned = nil
			break
		}
		unsigned = append(unsigned, d.Broker+"/"+d.Topic)
	}
	switch n := len(unsigned); {
	case n > 0:
		slices.Sort(unsigned)
		names := strings.Join(unsigned[:min(n, unsignedNamed)], ", ")
		if n > unsignedNamed {
			names += fmt.Sprintf(" and %d more", n-unsignedNamed)
		}
		return fmt.Errorf("never signed: %s; set proof.key-file on the server (varve archive keygen makes a key): it signs with the next commit of each", names)
	case len(rep.Doubts) == 1:
		return fmt.Errorf("1 doubt: %w", errDoubt)
	}
	return fmt.Errorf("%d doubts: %w", len(rep.Doubts), errDoubt)
}

// openToRead opens the archive that the settings name, without a server.
func openToRead(cmd *cobra.Command) (*archive.Archive, error) {
	l, err := loadConfig(cmd)
	if err != nil {
		return nil, err
	}
	c := l.Config
	if c.Archive.Kind == "dir" {
		if c.Archive.Dir == "" {
			c.Archive.Dir = c.DataDir + "/archive"
		}
		if _, err := os.Stat(c.Archive.Dir); err != nil {
			return nil, &config.Error{Key: "archive.dir", Reason: err.Error()}
		}
	}
	b, _, err := app.OpenBucket(&c, "")
	if err != nil {
		return nil, err
	}
	return archive.OpenReadOnly(context.WithoutCancel(cmd.Context()), b, archive.Options{})
}

func publicKeys(name string) ([]ed25519.PublicKey, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("--public-key: %w", err)}
	}
	keys, err := proof.ParsePublicKeys(text)
	if err != nil {
		return nil, usageError{fmt.Errorf("--public-key: %s: %w", name, err)}
	}
	return keys, nil
}

func readReport(name string) (*audit.Report, error) {
	text, err := os.ReadFile(name)
	rep := new(audit.Report)
	if err == nil {
		err = json.Unmarshal(text, rep)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("--since: %w", err)}
	}
	return rep, nil
}

// showReport prints a report; compared says that an earlier one was given.
func showReport(t *table, rep *audit.Report, compared bool) {
	t.row("archive", rep.Archive+" at "+rep.Location)
	t.row("read", fmt.Sprintf("%d tables, %d files, %d messages, %s in %.1f s (%s of messages, %.0f MB/s)",
		rep.Tables, rep.Files, rep.Rows, size(rep.Bytes), rep.Seconds, size(rep.RawBytes), float64(rep.RawBytes)/1e6/max(rep.Seconds, 1e-3)))
	t.row("proven", fmt.Sprintf("%d messages, %d of them erased", rep.Proven, rep.Erased))
	for _, h := range rep.Heads {
		key := "not signed"
		if h.Key != "" {
			key = "signed by " + h.Key
		}
		t.row("head", fmt.Sprintf("%s on %s: %d queues, %s, %s", h.Topic, h.Broker, len(h.Queues), h.At.Format("2006-01-02 15:04:05Z"), key))
	}
	if compared {
		t.row("compared", fmt.Sprintf("%d heads of the earlier report", rep.Compared))
	}
	for _, n := range rep.NotCovered {
		if n.To == 0 {
			t.row("not covered", place(n.Broker, n.Topic, n.Queue)+": "+n.Why)
			continue
		}
		t.row("not covered", fmt.Sprintf("%s offsets %d to %d: %s", place(n.Broker, n.Topic, n.Queue), n.From, n.To-1, n.Why))
	}
	for _, l := range rep.Leftover {
		t.row("left over", fmt.Sprintf("%s: %d objects of %s that no snapshot needs, e.g. %s", l.Topic, l.Objects, size(l.Bytes), l.Names[0]))
	}
	for _, d := range rep.Doubts {
		where := place(d.Broker, d.Topic, d.Queue)
		if d.Block != nil {
			where += fmt.Sprintf(", block %d", *d.Block)
		}
		if d.To > d.From {
			where += fmt.Sprintf(", offsets %d to %d", d.From, d.To-1)
		}
		t.row("DOUBT", where+": "+d.What)
		if d.File != "" {
			t.row("", "file "+d.File)
		}
		for _, r := range d.Rows {
			t.row("", fmt.Sprintf("offset %d, message %s: %s", r.Offset, r.MsgID, r.Why))
		}
	}
	if rep.OK {
		t.row("result", "no doubt")
	}
}

// place names a queue, or what of it is known.
func place(broker, topic string, queue *int32) string {
	out := topic
	if broker != "" {
		out = broker + "/" + out
	}
	if queue != nil {
		out += fmt.Sprintf("/%d", *queue)
	}
	return out
}
