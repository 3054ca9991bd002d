package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// faults are the commands that break something or mend it.
func (l *lab) faults() []*cobra.Command {
	return []*cobra.Command{
		l.onTwo("cut", "Stop all traffic between two hosts", (*bed.Bed).Cut),
		l.onTwo("cut1", "Stop what the first host sends to the second", (*bed.Bed).Cut1),
		l.onTwo("heal", "Undo cut and cut1 between two hosts", (*bed.Bed).Heal),
		l.onOne("isolate", "Switch a host's port off", func(_ context.Context, b *bed.Bed, h string) error { return b.Isolate(h) }),
		l.onOne("join", "Undo isolate", func(_ context.Context, b *bed.Bed, h string) error { return b.Join(h) }),
		l.onOne("pause", "Freeze a host", func(ctx context.Context, b *bed.Bed, h string) error { return b.Pause(ctx, h) }),
		l.onOne("resume", "Undo pause", func(ctx context.Context, b *bed.Bed, h string) error { return b.Resume(ctx, h) }),
		l.onOne("kill-engine", "Kill a host's dockerd, but no container", func(ctx context.Context, b *bed.Bed, h string) error { return b.KillEngine(ctx, h) }),
		l.onOne("poweroff", "Cut a host's power", func(ctx context.Context, b *bed.Bed, h string) error { return b.Poweroff(ctx, h) }),
		l.onOne("boot", "Start a host that is off, or its engine", func(ctx context.Context, b *bed.Bed, h string) error { return b.Boot(ctx, h) }),
		l.split(), l.merge(), l.delay(), l.loss(),
	}
}

func (l *lab) onOne(name, short string, f func(context.Context, *bed.Bed, string) error) *cobra.Command {
	return &cobra.Command{Use: name + " HOST", Short: short, Args: cobra.ExactArgs(1),
		RunE: l.with(func(cmd *cobra.Command, b *bed.Bed, args []string) error { return f(cmd.Context(), b, args[0]) })}
}

func (l *lab) onTwo(name, short string, f func(b *bed.Bed, x, y string) error) *cobra.Command {
	return &cobra.Command{Use: name + " HOST HOST", Short: short, Args: cobra.ExactArgs(2),
		RunE: l.with(func(_ *cobra.Command, b *bed.Bed, args []string) error { return f(b, args[0], args[1]) })}
}

func (l *lab) split() *cobra.Command {
	return &cobra.Command{Use: "split [REGION…]", Short: "Cut the given regions off from all others; without one, every region from every other",
		RunE: l.with(func(_ *cobra.Command, b *bed.Bed, args []string) error {
			var regions []int
			for _, a := range args {
				r, err := strconv.Atoi(a)
				if err != nil {
					return fmt.Errorf("region %q is no number", a)
				}
				regions = append(regions, r)
			}
			return b.Split(regions...)
		})}
}

func (l *lab) merge() *cobra.Command {
	return &cobra.Command{Use: "merge", Short: "Undo every split", Args: cobra.NoArgs,
		RunE: l.with(func(_ *cobra.Command, b *bed.Bed, _ []string) error { return b.Merge() })}
}

func (l *lab) delay() *cobra.Command {
	return &cobra.Command{Use: "delay ONEWAY [JITTER]", Short: "Delay packets between regions, e.g. 20ms 2ms; 0 ends it", Args: cobra.RangeArgs(1, 2),
		RunE: l.with(func(cmd *cobra.Command, b *bed.Bed, args []string) error {
			oneway, err := time.ParseDuration(args[0])
			if err != nil {
				return fmt.Errorf("delay: %w", err)
			}
			var jitter time.Duration
			if len(args) == 2 {
				if jitter, err = time.ParseDuration(args[1]); err != nil {
					return fmt.Errorf("jitter: %w", err)
				}
			}
			return b.Delay(cmd.Context(), oneway, jitter)
		})}
}

func (l *lab) loss() *cobra.Command {
	return &cobra.Command{Use: "loss HOST PERCENT", Short: "Lose packets to and from a host; 0 ends it", Args: cobra.ExactArgs(2),
		RunE: l.with(func(_ *cobra.Command, b *bed.Bed, args []string) error {
			percent, err := strconv.ParseFloat(args[1], 64)
			if err != nil {
				return fmt.Errorf("percentage %q is no number", args[1])
			}
			return b.Loss(args[0], percent)
		})}
}

// signalOf takes "KILL", "SIGKILL" or "9".
func signalOf(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n), nil
	}
	s := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if s == 0 {
		return 0, fmt.Errorf("there is no signal %q", name)
	}
	return s, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
