package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func replayCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "replay", Short: "Read a range of a topic again, into another topic or as NDJSON"}
	cmd.AddCommand(replayStart(), replayStream(), replayList(), &cobra.Command{
		Use: "show ID", Short: "Show one replay job", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := client(cmd).ReplayJob(cmd.Context(), args[0])
			return showJobs(cmd, j, err)
		},
	})
	for action, short := range map[string]string{
		"pause": "Pause a job; it keeps its place", "resume": "Go on with a paused or failed job", "cancel": "End a job for good",
	} {
		cmd.AddCommand(&cobra.Command{
			Use: action + " ID", Short: short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				j, err := client(cmd).ReplayAction(cmd.Context(), args[0], action)
				return showJobs(cmd, j, err)
			},
		})
	}
	return cmd
}

// replayFlags adds the flags that say what to read.
func replayFlags(cmd *cobra.Command, s *admin.ReplaySpec) (finish func() error) {
	var from, to string
	var fromOffset, toOffset int64
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "stored at or after this time")
	f.StringVar(&to, "to", "", "stored before this time")
	f.Int64Var(&fromOffset, "from-offset", 0, "first offset; needs one --queue")
	f.Int64Var(&toOffset, "to-offset", 0, "offset to stop before; needs one --queue")
	f.Int32SliceVar(&s.Queues, "queue", nil, "queue; all where none is given")
	f.StringVar(&s.Tags, "tags", "", `tags, such as "paid || shipped"`)
	f.StringVar(&s.SQL, "where", "", `property expression, such as "amount > 10"`)
	f.BoolVar(&s.SkipErased, "skip-erased", false, "leave out messages whose bodies were erased; else they come without a body, with the property VARVE_ERASED")
	return func() (err error) {
		if s.From, err = timeFlag("from", from); err != nil {
			return err
		}
		if s.To, err = timeFlag("to", to); err != nil {
			return err
		}
		if f.Changed("from-offset") {
			s.FromOffset = &fromOffset
		}
		if f.Changed("to-offset") {
			s.ToOffset = &toOffset
		}
		if (s.FromOffset != nil || s.ToOffset != nil) && len(s.Queues) != 1 {
			return usageError{fmt.Errorf("--from-offset and --to-offset need one --queue: offsets count in each queue for itself")}
		}
		return nil
	}
}

func replayStart() *cobra.Command {
	var s admin.ReplaySpec
	wait := false
	cmd := &cobra.Command{
		Use: "start TOPIC --into TARGET", Short: "Replay into another topic; goes on after a restart", Args: cobra.ExactArgs(1),
	}
	finish := replayFlags(cmd, &s)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.Topic = args[0]
		if err := finish(); err != nil {
			return err
		}
		if s.Target == "" {
			return usageError{fmt.Errorf("--into: a replay job needs a target topic; `varve replay stream` writes to standard output")}
		}
		j, err := client(cmd).StartReplay(cmd.Context(), s)
		if err == nil && wait {
			j, err = client(cmd).AwaitReplay(cmd.Context(), j.ID)
		}
		if err == nil && wait && j.State != "done" {
			err = fmt.Errorf("replay %s is %s: %s", j.ID, j.State, dash(j.Error))
		}
		return showJobs(cmd, j, err)
	}
	cmd.Flags().StringVar(&s.Target, "into", "", "topic to write to")
	cmd.Flags().IntVar(&s.Rate, "rate", 0, "messages a second, full speed where 0")
	cmd.Flags().BoolVar(&wait, "wait", false, "return when the job has ended")
	return cmd
}

func replayStream() *cobra.Command {
	var s admin.ReplaySpec
	cmd := &cobra.Command{Use: "stream TOPIC", Short: "Write a range to standard output, a JSON object a line", Args: cobra.ExactArgs(1)}
	finish := replayFlags(cmd, &s)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s.Topic = args[0]
		if err := finish(); err != nil {
			return err
		}
		return client(cmd).StreamReplay(cmd.Context(), s, cmd.OutOrStdout())
	}
	cmd.Flags().IntVar(&s.Rate, "rate", 0, "messages a second, full speed where 0")
	return cmd
}

func replayList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the replay jobs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			jobs, err := client(cmd).Replays(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, jobs, func(t *table) { jobRows(t, jobs...) })
		},
	}
}

func showJobs(cmd *cobra.Command, j admin.ReplayJob, err error) error {
	if err != nil {
		return err
	}
	return show(cmd, j, func(t *table) { jobRows(t, j) })
}

func jobRows(t *table, jobs ...admin.ReplayJob) {
	t.row("ID", "STATE", "FROM", "INTO", "SCANNED", "OF", "SENT", "STARTED", "ERROR")
	for _, j := range jobs {
		t.row(j.ID, j.State, j.Spec.Topic, j.Spec.Target, j.Scanned, j.Total, j.Sent, j.Started, dash(j.Error))
	}
}
