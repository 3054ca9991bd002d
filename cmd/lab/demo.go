package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
	"github.com/orpheus-mesh/orpheus/cmd/lab/stories"
)

// demo acts the main story for a person to watch, and leaves it running.
func (l *lab) demo() *cobra.Command {
	cmd := &cobra.Command{Use: "demo", Short: "Deploy, break and heal a mesh of real hosts, and leave it running", Args: cobra.NoArgs}
	binary := cmd.Flags().String("orpheus", "", "the orpheus binary (default: beside this one)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if l.cfg.Prefix != "" && l.cfg.Prefix != bed.DefaultPrefix {
			return fmt.Errorf("prefix: %q, but the demonstration's hosts are called %s1, %[2]s2 and so on: leave it out", l.cfg.Prefix, bed.DefaultPrefix)
		}
		if err := l.clear(cmd.Context()); err != nil {
			return err
		}
		cfg := l.cfg
		cfg.Hosts, cfg.Regions = 3, 2
		b, err := bed.New(cfg)
		if err != nil {
			return err
		}
		path, err := findOrpheus(*binary)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
		stage := &stories.Stage{M: &mesh.Mesh{Bed: b, Binary: path}, Say: say}
		return act(cmd.Context(), b, stage, say)
	}
	return cmd
}

// clear takes down whatever lab stands where the demonstration's is to be, of whatever shape.
func (l *lab) clear(ctx context.Context) error {
	b, err := bed.New(bed.Config{Dir: l.cfg.Dir, Log: l.cfg.Log})
	if err != nil {
		return err
	}
	return b.Down(ctx)
}

func findOrpheus(path string) (string, error) {
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		path = filepath.Join(filepath.Dir(self), "orpheus")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the orpheus binary: %w (run `make build`)", err)
	}
	return path, nil
}

const demoRate = 200 // requests per second

func act(ctx context.Context, b *bed.Bed, s *stories.Stage, say func(string, ...any)) error {
	say("Orpheus: a container orchestrator without a conductor. Everything below is real: engines, kernel, packets.\n")
	say("0. The stage")
	start := time.Now()
	if err := b.Up(ctx); err != nil {
		return err
	}
	say("  %-62s %6.2f s", "three hosts with a network namespace and a Docker Engine each", time.Since(start).Seconds())

	say("\n1. A mesh of three, joined by tokens")
	if err := s.Found(ctx, "m1", "m2", "m3"); err != nil {
		return err
	}
	say("\n2. The application: front end, back end, database")
	if err := s.BuildImages(ctx, "m1"); err != nil {
		return err
	}
	if err := s.Deploy(ctx, "m2"); err != nil {
		return err
	}
	say("\n3. Every node serves it, also one that just came")
	if _, err := b.AddHost(ctx); err != nil {
		return err
	}
	if err := s.Join(ctx, "m3", "m4"); err != nil {
		return err
	}
	hosts := []string{"m1", "m2", "m3", "m4"}
	if err := s.Everywhere(ctx, hosts...); err != nil {
		return err
	}
	if err := s.GivesWork(ctx, "m4"); err != nil {
		return err
	}
	if err := showCut(ctx, s, say, hosts); err != nil {
		return err
	}
	if err := showChange(ctx, s, say, hosts); err != nil {
		return err
	}
	return showSplit(ctx, b, s, say, hosts)
}

func showCut(ctx context.Context, s *stories.Stage, say func(string, ...any), hosts []string) error {
	say("\n4. A host loses power under %d requests a second (the database's host is spared: its volume lives on one disk.", demoRate)
	say("   Were that disk lost, `orpheus fence HOST` would start the database anew elsewhere, empty.)")
	cut, err := s.CutPower(ctx, demoRate, 5*time.Second, hosts)
	if err != nil {
		return err
	}
	say("  %s is dark, with %d pods of the application", cut.Victim, cut.Pods)
	say("  %-62s %6.2f s", "detected: the others show its pods as not Ready after", cut.Suspected.Seconds())
	say("  %-62s %6.2f s", "its addresses take no more traffic after", cut.Withdrawn.Seconds())
	say("  %-62s %6.2f s", "and its node as lost, so that its pods are replaced, after", cut.Dead.Seconds())
	say("  %-62s %6.2f s", "replacements Ready on the survivors after", cut.Ready.Seconds())
	sayLoad(say, cut.Load)
	return s.Return(ctx, cut.Victim)
}

func showChange(ctx context.Context, s *stories.Stage, say func(string, ...any), hosts []string) error {
	say("\n5. Crashes and changes")
	if err := s.Crash(ctx, hosts[0]); err != nil {
		return err
	}
	for _, undo := range []bool{false, true} {
		start := time.Now()
		r, err := s.Rollout(ctx, demoRate, hosts, undo)
		if err != nil {
			return err
		}
		what := map[bool]string{false: "rolling update to version 2, one pod at a time", true: "kubectl rollout undo"}[undo]
		say("  %-62s %6.2f s", what, time.Since(start).Seconds())
		sayLoad(say, r)
	}
	return nil
}

func showSplit(ctx context.Context, b *bed.Bed, s *stories.Stage, say func(string, ...any), hosts []string) error {
	say("\n6. Two regions are cut from one another and healed")
	h, err := b.AddHost(ctx)
	if err != nil {
		return err
	}
	if err := s.Join(ctx, hosts[0], h.Name); err != nil {
		return err
	}
	hosts = append(hosts, h.Name)
	sp, err := s.SplitRegions(ctx, 30*time.Second, 10, hosts)
	if err != nil {
		return err
	}
	say("  split for %.0f s: %d hosts served on their sides, and took %d applies a side", sp.Lasted.Seconds(), sp.Served, sp.Applies)
	say("  %-62s %6.2f s", "all replicas identical on every host after healing", sp.Identical.Seconds())
	say("  %d original pods kept, %d surplus pods gone", sp.Originals, sp.Surplus)
	if err := s.Everywhere(ctx, hosts...); err != nil {
		return err
	}
	say("\nIt is left running. To play:\n")
	say("  bin/lab exec m3 env ORPHEUS_RUN_DIR=%s/m3/orpheus-run bin/orpheus kubectl get pods -A -o wide", "/var/lib/orpheus-lab")
	say("  bin/lab exec client curl -s --resolve todo.example.test:80:10.201.0.11 http://todo.example.test/")
	say("  bin/lab poweroff m2        bin/lab split      bin/lab merge      bin/lab status")
	say("  bin/lab down               ends everything and leaves nothing behind")
	return nil
}

func sayLoad(say func(string, ...any), r load.Report) {
	say("  requests: %d, failed: %d (%.3f %%), longest gap %s", r.Sent, r.Failed, 100*r.FailedPart, time.Duration(r.LongestGap).Round(time.Millisecond))
	for reason, n := range r.Reasons {
		say("    %d × %s", n, reason)
	}
}
