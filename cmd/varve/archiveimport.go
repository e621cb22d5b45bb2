package main

import (
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/app"
	"varve/internal/units"
)

func archiveImport() *cobra.Command {
	o := app.ImportOptions{Program: release}
	from, rate := "", ""
	cmd := &cobra.Command{
		Use: "import", Short: "Bring the history of a RocketMQ cluster into the archive",
		Long: `Pull every message that a RocketMQ cluster still has into the archive, with its
broker group, queue, offset and position, and the settings of its topics and
groups and how far the groups are. The cluster serves meanwhile and is not
changed. End it at any time and run it again: it goes on where the archive ends.

A Varve broker of the same name ("varve archive restore") then goes on where the
cluster's ends. It needs no running server, but the settings of the archive;
auth.access-key and auth.secret-key sign the requests.`,
		Args: cobra.NoArgs,
	}
	configFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.NameServer, "name-server", "", "name server of the cluster, HOST:PORT")
	f.StringSliceVar(&o.Topics, "topic", nil, "patterns of topics; all but the cluster's own where none is given")
	f.StringSliceVar(&o.Brokers, "broker-group", nil, "patterns of broker groups; all where none is given")
	f.StringVar(&from, "from", "", "leave out what was stored before: a time or an age, as message read takes")
	f.StringVar(&rate, "rate", "", "most bytes of messages a second, such as 20MiB; no bound where empty")
	f.IntVar(&o.Queues, "queues", 8, "queues at a time")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.NameServer == "" {
			return usageError{fmt.Errorf("--name-server: which cluster?")}
		}
		if _, port, err := net.SplitHostPort(o.NameServer); err != nil || port == "" {
			return usageError{fmt.Errorf("--name-server: %q is no HOST:PORT", o.NameServer)}
		}
		if o.Queues < 1 || o.Queues > 1024 {
			return usageError{fmt.Errorf("--queues: %d is not between 1 and 1024", o.Queues)}
		}
		if rate != "" {
			b, err := units.ParseBytes(rate)
			if err != nil {
				return usageError{fmt.Errorf("--rate: %w", err)}
			}
			if b <= 0 {
				return usageError{fmt.Errorf("--rate: %q is nothing; leave it out for no bound", rate)}
			}
			o.Rate = int64(b)
		}
		if from != "" {
			var err error
			if o.From, err = timeFlag("from", from); err != nil {
				return err
			}
		}
		l, log, err := loadConfigAndLogger(cmd)
		if err != nil {
			return err
		}
		r, err := app.Import(cmd.Context(), &l.Config, o, log)
		if err != nil {
			return err
		}
		return show(cmd, r, func(t *table) {
			t.row("BROKER GROUP", "TOPIC", "QUEUES", "IN THE ARCHIVE", "NOT THERE ANY MORE", "CAME SINCE")
			for _, b := range r.Brokers {
				for _, x := range b.Topics {
					t.row(b.Name, x.Name, x.Queues, x.Messages, x.Missing, x.Behind)
				}
				t.row(fmt.Sprintf("%s: %d messages, %s brought in now; %d groups and their progress; %s",
					b.Name, b.Messages, size(b.Bytes), b.Groups, r.Took.Round(time.Millisecond)))
			}
		})
	}
	return cmd
}
