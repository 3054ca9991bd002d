package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/figures"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// measurements are the commands that measure what Orpheus promises, and what they share.
type measurements struct {
	lab            *lab
	hosts, regions int
	binary, file   string
	runs           int
	rate           float64
}

func (l *lab) figures() *cobra.Command {
	m := &measurements{lab: l}
	root := &cobra.Command{Use: "figures", Short: "Measure what Orpheus promises",
		Long: "Measure what Orpheus promises. What is missing of the lab, the mesh and the to-do application is brought up first and left running;\n" +
			"`lab down` ends it. Exit status 1: a promise was not kept, or could not be measured."}
	f := root.PersistentFlags()
	f.StringVar(&m.binary, "orpheus", "", "the orpheus binary (default: beside this one)")
	f.StringVar(&m.file, "json", "", "file for the rows and all runs; figures of other names that it holds stay")
	f.IntVar(&m.hosts, "hosts", 5, "number of hosts")
	f.IntVar(&m.regions, "regions", 0, "number of regions (default 2, or what stands)")
	root.AddCommand(m.up(), m.power(), m.rollout(), m.drain(), m.calm(), m.split(), m.kill9(), m.idle(), m.spread(), m.join(), m.all())
	return root
}

type measure func(ctx context.Context, l *figures.Lab) (*figures.Result, error)

// taken raises the lab and takes figures, one after the other. One that fails does not keep the others from being taken.
func (m *measurements) taken(cmd *cobra.Command, app bool, all ...measure) error {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // its complaints about daemons that were killed are what is counted
	lab, err := m.raise(cmd, app)
	if err != nil {
		return err
	}
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	var errs []error
	for _, take := range all {
		r, err := take(ctx, lab)
		if err != nil {
			r.Unmeasured = append(r.Unmeasured, err.Error())
			errs = append(errs, err)
		} else if r.Missed() {
			errs = append(errs, fmt.Errorf("%s: not as promised", r.Figure))
		}
		fmt.Fprintln(out)
		r.Print(out)
		fmt.Fprintln(out)
		if m.file != "" {
			errs = append(errs, figures.Keep(m.file, r))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (m *measurements) raise(cmd *cobra.Command, app bool) (*figures.Lab, error) {
	cfg := m.lab.cfg
	cfg.Hosts, cfg.Regions = m.hosts, m.regions
	b, err := bed.New(cfg)
	if err == nil && cfg.Regions == 0 {
		if hosts, e := b.Hosts(); e == nil && len(hosts) == 0 {
			cfg.Regions = 2
			b, err = bed.New(cfg)
		}
	}
	if err != nil {
		return nil, err
	}
	path, err := findOrpheus(m.binary)
	if err != nil {
		return nil, err
	}
	begun, out := time.Now(), cmd.OutOrStdout()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "%7.1f s  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	lab := figures.New(&mesh.Mesh{Bed: b, Binary: path, Log: cfg.Log}, say)
	return lab, lab.Raise(cmd.Context(), app)
}

func (m *measurements) withRuns(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().IntVarP(&m.runs, "runs", "n", 20, "number of runs")
	return cmd
}

func (m *measurements) withRate(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Float64Var(&m.rate, "rate", 200, "requests per second")
	return cmd
}

func (m *measurements) up() *cobra.Command {
	return &cobra.Command{Use: "up", Short: "Only bring up the lab, the mesh and the application", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := m.raise(cmd, true)
			return err
		}}
}

func (m *measurements) power() *cobra.Command {
	cmd := &cobra.Command{Use: "power", Short: "Power cuts under load: endpoints withdrawn, replacements Ready, requests failed", Args: cobra.NoArgs}
	around := cmd.Flags().Duration("around", time.Minute, "how long the load lasts, all in all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, true, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
			return l.Power(ctx, m.runs, figures.Load{Rate: m.rate, Around: *around})
		})
	}
	return m.withRuns(m.withRate(cmd))
}

func (m *measurements) rollout() *cobra.Command {
	cmd := &cobra.Command{Use: "rollout", Short: "Rolling updates and their undo under load: requests failed", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, true, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
			return l.Rollout(ctx, m.runs, m.rate)
		})
	}
	return m.withRuns(m.withRate(cmd))
}

func (m *measurements) drain() *cobra.Command {
	cmd := &cobra.Command{Use: "drain", Short: "Drain a host and give it back, under load: requests failed", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, true, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
			return l.Drain(ctx, m.runs, m.rate)
		})
	}
	return m.withRuns(m.withRate(cmd))
}

func (m *measurements) calm() *cobra.Command {
	cmd := &cobra.Command{Use: "calm", Short: "Packet loss at one host and freezes of another: pods moved", Args: cobra.NoArgs}
	var how figures.Trouble
	cmd.Flags().DurationVar(&how.Lasts, "duration", 20*time.Minute, "how long")
	cmd.Flags().Float64Var(&how.Loss, "loss", 20, "percent of packets")
	cmd.Flags().DurationVar(&how.Freeze, "freeze", 2*time.Second, "how long the other host stands still, once a minute")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, true, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) { return l.Calm(ctx, how) })
	}
	return cmd
}

func (m *measurements) split() *cobra.Command {
	cmd := &cobra.Command{Use: "split", Short: "Split of two regions with edits on both sides: time to equality, edits and pods lost", Args: cobra.NoArgs}
	var how figures.Partition
	runs := cmd.Flags().IntP("runs", "n", 1, "number of runs")
	cmd.Flags().DurationVar(&how.Lasts, "duration", 3*time.Minute, "how long")
	cmd.Flags().IntVar(&how.Applies, "applies", 50, "applies on each side")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, true, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) { return l.Split(ctx, *runs, how) })
	}
	return cmd
}

func (m *measurements) kill9() *cobra.Command {
	cmd := &cobra.Command{Use: "kill9", Short: "kill -9 of a daemon in a loop: acknowledged objects lost", Args: cobra.NoArgs}
	kills := cmd.Flags().Int("kills", 100, "how often")
	rate := cmd.Flags().Float64("rate", 20, "objects created per second")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, false, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) { return l.Kill9(ctx, *kills, *rate) })
	}
	return cmd
}

func (m *measurements) idle() *cobra.Command {
	cmd := &cobra.Command{Use: "idle", Short: "Start of the daemon, its memory and processor time at rest, the binary's size", Args: cobra.NoArgs}
	window := cmd.Flags().Duration("window", time.Minute, "how long processor time is measured")
	runs := cmd.Flags().IntP("runs", "n", 5, "number of starts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, false, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) { return l.Idle(ctx, *runs, *window) })
	}
	return cmd
}

func (m *measurements) spread() *cobra.Command {
	cmd := &cobra.Command{Use: "spread", Short: "Many objects applied to one host: time until all hold them, and traffic at rest", Args: cobra.NoArgs,
		Long: "Many objects applied to one host: time until all hold them, and traffic at rest. The traffic is measured where no pod runs, and\n" +
			"promised of three hosts: begin with a lab of its own and --hosts 3."}
	objects := cmd.Flags().Int("objects", 10_000, "how many")
	window := cmd.Flags().Duration("window", 2*time.Minute, "how long traffic is counted")
	runs := cmd.Flags().IntP("runs", "n", 3, "number of runs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, false, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
			return l.Spread(ctx, *runs, *objects, *window)
		})
	}
	return cmd
}

func (m *measurements) join() *cobra.Command {
	cmd := &cobra.Command{Use: "join", Short: "Join of a new host until it runs a pod", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, false, func(ctx context.Context, l *figures.Lab) (*figures.Result, error) { return l.Join(ctx, m.runs) })
	}
	return m.withRuns(cmd)
}

func (m *measurements) all() *cobra.Command {
	cmd := &cobra.Command{Use: "all", Short: "Every figure as it is promised, which takes about two hours", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return m.taken(cmd, true,
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
				return l.Idle(ctx, 20, time.Minute)
			},
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) { return l.Kill9(ctx, 100, 20) },
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
				return l.Rollout(ctx, m.runs, m.rate)
			},
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
				return l.Drain(ctx, m.runs, m.rate)
			},
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
				return l.Split(ctx, 1, figures.Partition{Lasts: 3 * time.Minute, Applies: 50})
			},
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
				return l.Calm(ctx, figures.Trouble{Lasts: 20 * time.Minute, Loss: 20, Freeze: 2 * time.Second})
			},
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
				return l.Power(ctx, m.runs, figures.Load{Rate: m.rate, Around: time.Minute})
			},
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) { return l.Join(ctx, m.runs) },
			func(ctx context.Context, l *figures.Lab) (*figures.Result, error) {
				return l.Spread(ctx, 3, 10_000, 2*time.Minute)
			})
	}
	return m.withRuns(m.withRate(cmd))
}
