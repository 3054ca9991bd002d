package figures

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// Partition is a split of the regions to be.
type Partition struct {
	Lasts   time.Duration
	Applies int // on each side
}

// SplitRun is one split and what became of it.
type SplitRun struct {
	Sides        [2][]string   `json:"sides"`
	Lasted       load.Duration `json:"lasted"`
	Applied      [2]int        `json:"applied"` // accepted, by side
	Refused      []string      `json:"refused,omitempty"`
	Fingerprints load.Duration `json:"fingerprints"` // from healing until all replicas had one fingerprint
	Identical    load.Duration `json:"identical"`    // until every kind had been the same on every host, object by object
	Objects      int           `json:"objects"`
	Conflicts    int           `json:"conflicts"` // objects that all hosts list as changed by both sides
	Expected     int           `json:"expected"`
	LostEdits    []string      `json:"lostEdits"`
	Unlisted     []string      `json:"unlisted"`
	Originals    int           `json:"originals"` // pods before the split
	LostPods     []string      `json:"lostPods"`
	Restarted    []string      `json:"restarted"` // originals whose containers were made anew
	Surplus      int           `json:"surplus"`   // pods that a side had made meanwhile
	Settled      load.Duration `json:"settled"`   // from healing until the pods were just the originals and all was the same at once

	unready map[types.UID]bool // originals that were not Ready on their own side when the split was healed
}

// Split cuts the second region off, applies on both sides, heals, and looks on every host for what became of it.
func (l *Lab) Split(ctx context.Context, n int, how Partition) (*Result, error) {
	r, done := l.figure("split")
	defer done()
	var runs []SplitRun
	err := l.repeat(ctx, r, n, func(int) error {
		run, err := l.split(ctx, how)
		if err == nil {
			runs = append(runs, run)
		}
		return err
	})
	r.Runs = runs
	count := func(f func(SplitRun) int) []float64 {
		return each(runs, func(s SplitRun) float64 { return float64(f(s)) })
	}
	r.Rows = []Row{
		row("healing to every object the same on every host", "s", each(runs, func(s SplitRun) float64 { return seconds(s.Identical) })...).atMost(10, 10),
		row("healing to equal fingerprints", "s", each(runs, func(s SplitRun) float64 { return seconds(s.Fingerprints) })...),
		row("edits lost", "", count(func(s SplitRun) int { return len(s.LostEdits) })...).atMost(0, 0),
		row("objects of both sides not listed as conflicts", "", count(func(s SplitRun) int { return len(s.Unlisted) })...).atMost(0, 0),
		row("applies refused", "", count(func(s SplitRun) int { return len(s.Refused) })...).atMost(0, 0),
		row("original pods lost", "", count(func(s SplitRun) int { return len(s.LostPods) })...).atMost(0, 0),
		row("original pods restarted", "", count(func(s SplitRun) int { return len(s.Restarted) })...),
		row("healing to surplus pods gone", "s", each(runs, func(s SplitRun) float64 { return seconds(s.Settled) })...),
	}
	return r, err
}

func (l *Lab) split(ctx context.Context, how Partition) (run SplitRun, err error) {
	if run.Sides, err = l.sides(); err != nil {
		return run, err
	}
	if err := l.clearSplit(ctx); err != nil {
		return run, err
	}
	if err := l.Whole(ctx); err != nil {
		return run, err
	}
	defer mend(ctx, &err, "clear away the split's objects", l.clearSplit)
	defer mend(ctx, &err, "heal the split", func(context.Context) error { return l.M.Bed.Merge() })
	if err := l.M.Apply(ctx, l.Hosts[0], originalsYAML(how.Applies)); err != nil {
		return run, err
	}
	v, err := l.views(ctx)
	if err != nil {
		return run, err
	}
	if _, err := v.same(ctx, 30*time.Second); err != nil {
		return run, fmt.Errorf("before the split: %w", err)
	}
	before, err := l.allPods(ctx, l.Hosts[0])
	if err != nil {
		return run, err
	}
	run.Originals = len(before)
	edits := [2][]edit{editsOf(0, how.Applies), editsOf(1, how.Applies)}
	if err := l.apart(ctx, how, edits, before, &run); err != nil {
		return run, err
	}
	healed := time.Now()
	if err := l.M.Bed.Merge(); err != nil {
		return run, err
	}
	if err := l.together(ctx, v, healed, &run); err != nil {
		return run, err
	}
	if err := l.foundAgain(ctx, edits, &run); err != nil {
		return run, err
	}
	if err := l.originalsKept(ctx, before, &run); err != nil {
		return run, err
	}
	if _, err := v.same(ctx, time.Minute); err != nil {
		return run, fmt.Errorf("after the surplus had gone: %w", err)
	}
	run.Settled = load.Duration(time.Since(healed))
	l.Say("  identical after %.2f s (fingerprints %.2f s), %d edits lost, %d conflicts of %d expected, %d of %d original pods lost, %d surplus pods gone after %.0f s",
		seconds(run.Identical), seconds(run.Fingerprints), len(run.LostEdits), run.Conflicts, run.Expected, len(run.LostPods), run.Originals, run.Surplus, seconds(run.Settled))
	for _, lost := range slices.Concat(run.LostEdits, run.Unlisted, run.LostPods) {
		l.Say("    lost: %s", lost)
	}
	return run, nil
}

// sides are the hosts of region 2 and all others.
func (l *Lab) sides() (sides [2][]string, err error) {
	for _, name := range l.Hosts {
		h, err := l.M.Bed.Host(name)
		if err != nil {
			return sides, err
		}
		side := 0
		if h.Region == 2 {
			side = 1
		}
		sides[side] = append(sides[side], name)
	}
	if len(sides[0]) == 0 || len(sides[1]) == 0 {
		return sides, errors.New("a split needs hosts in two regions: run `lab down` and begin with --regions 2")
	}
	return sides, nil
}

// apart keeps the sides apart for the whole time, and applies on both at once.
func (l *Lab) apart(ctx context.Context, how Partition, edits [2][]edit, before map[types.UID]corev1.Pod, run *SplitRun) error {
	if err := l.M.Bed.Split(2); err != nil {
		return err
	}
	start := time.Now()
	for _, side := range run.Sides {
		if err := l.seesOnly(ctx, side); err != nil {
			return err
		}
	}
	l.Say("  %v and %v lost sight of each other after %.1f s; %d applies on each side", run.Sides[0], run.Sides[1], time.Since(start).Seconds(), how.Applies)
	var refused [2][]string
	var work errgroup.Group
	for side := range run.Sides {
		work.Go(func() error {
			refused[side] = l.applyAll(ctx, run.Sides[side], edits[side])
			return nil
		})
	}
	_ = work.Wait() // what was refused is in refused
	for side := range run.Sides {
		run.Applied[side] = how.Applies - len(refused[side])
		run.Refused = append(run.Refused, refused[side]...)
	}
	l.Say("  %d and %d accepted after %.0f s", run.Applied[0], run.Applied[1], time.Since(start).Seconds())
	pause(ctx, how.Lasts-time.Since(start))
	run.Lasted = load.Duration(time.Since(start))
	return l.lookAtBoth(ctx, before, run)
}

// lookAtBoth counts what the sides have made by the end of the split, and keeps how the originals were on the side that runs them.
func (l *Lab) lookAtBoth(ctx context.Context, before map[types.UID]corev1.Pod, run *SplitRun) error {
	made := map[types.UID]bool{}
	run.unready = map[types.UID]bool{}
	for _, side := range run.Sides {
		now, err := l.allPods(ctx, side[0])
		if err != nil {
			return err
		}
		for uid, p := range now {
			if _, old := before[uid]; !old {
				made[uid] = true
			} else if slices.Contains(side, p.Spec.NodeName) && !podReady(&p) {
				run.unready[uid] = true
			}
		}
	}
	run.Surplus = len(made)
	return ctx.Err()
}

func (l *Lab) seesOnly(ctx context.Context, side []string) error {
	for _, h := range side {
		c, err := l.control(h)
		if err != nil {
			return err
		}
		err = until(ctx, 30*time.Second, 50*time.Millisecond, h+" sees its own side only", func(ctx context.Context) error {
			s, err := c.Status(ctx)
			if err == nil && s.Alive != len(side) {
				err = fmt.Errorf("it sees %d hosts, its side has %d", s.Alive, len(side))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// applyAll applies one after the other, with kubectl, as a person would, to the hosts of the side by turn.
func (l *Lab) applyAll(ctx context.Context, hosts []string, edits []edit) (refused []string) {
	for i, e := range edits {
		if err := l.M.Apply(ctx, hosts[i%len(hosts)], e.yaml()); err != nil {
			refused = append(refused, err.Error())
		}
	}
	return refused
}
