package figures

import (
	"context"
	"fmt"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/demo"
	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// Change is one planned change under load.
type Change struct {
	What string        `json:"what"`
	Took load.Duration `json:"took"` // with a moment of load before and after
	Load load.Report   `json:"load"`
}

func (c Change) failed() float64 { return float64(c.Load.Failed) }
func (c Change) took() float64   { return seconds(c.Took) }

// Rollout updates the front end to version 2 and back, under load through every host.
func (l *Lab) Rollout(ctx context.Context, n int, rate float64) (_ *Result, err error) {
	r, done := l.figure("rolling update")
	defer done()
	var updates, undos []Change
	defer mend(ctx, &err, "go back to version 1", l.versionOne)
	err = l.repeat(ctx, r, n, func(int) error {
		if err := l.Whole(ctx); err != nil {
			return err
		}
		for _, undo := range []bool{false, true} {
			start := time.Now()
			report, err := l.Stage.Rollout(ctx, rate, l.Hosts, undo)
			if err != nil {
				return err
			}
			c := Change{map[bool]string{false: "update", true: "undo"}[undo], load.Duration(time.Since(start)), report}
			l.sayChange(c)
			if undo {
				undos = append(undos, c)
			} else {
				updates = append(updates, c)
			}
		}
		return nil
	})
	r.Runs = append(updates, undos...)
	r.Rows = []Row{
		row("requests failed in a rolling update", "", each(updates, Change.failed)...).atMost(0, 0),
		row("requests failed in its undo", "", each(undos, Change.failed)...).atMost(0, 0),
		row("rolling update of the front end", "s", each(updates, Change.took)...),
	}
	return r, err
}

func (l *Lab) sayChange(c Change) {
	l.Say("  %s: %.1f s, %d of %d requests failed %v", c.What, seconds(c.Took), c.Load.Failed, c.Load.Sent, c.Load.Reasons)
}

func (l *Lab) versionOne(ctx context.Context) error {
	_, err := l.M.Kubectl(ctx, l.Hosts[0], "-n", demo.Namespace, "set", "image", "deployment/frontend", "frontend="+images.FrontendV1)
	return err
}

// Drain empties a host by `kubectl drain`, asked of another one, and gives it back, under load through every host. It takes hosts without which
// every app still has a pod: nobody told the mesh of a disruption budget, and an app whose only pods are evicted at once has to fail.
func (l *Lab) Drain(ctx context.Context, n int, rate float64) (*Result, error) {
	r, done := l.figure("drain")
	defer done()
	var runs []Change
	err := l.repeat(ctx, r, n, func(i int) error {
		c, err := l.drain(ctx, i, rate)
		if err != nil {
			return err
		}
		runs = append(runs, c)
		l.sayChange(c)
		return nil
	})
	r.Runs = runs
	r.Rows = []Row{
		row("requests failed in a drain", "", each(runs, Change.failed)...).atMost(0, 0),
		row("drain of a host, all pods Ready elsewhere", "s", each(runs, Change.took)...),
	}
	return r, err
}

func (l *Lab) drain(ctx context.Context, i int, rate float64) (c Change, err error) {
	hosts := turned(l.Hosts, i)
	victim, err := l.choose(ctx, hosts, true)
	if err != nil {
		return c, err
	}
	other := hosts[0]
	if other == victim {
		other = hosts[1]
	}
	c.What = "drain of " + victim
	uncordon := func(ctx context.Context) error {
		_, err := l.M.Kubectl(ctx, other, "uncordon", victim)
		return err
	}
	defer mend(ctx, &err, "uncordon "+victim, uncordon)
	start := time.Now()
	c.Load, err = l.Stage.UnderLoad(ctx, rate, time.Second, 3*time.Second, l.Hosts, func() error {
		if _, err := l.M.Kubectl(ctx, other, "drain", victim, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"); err != nil {
			return err
		}
		if err := l.moved(ctx, other, victim); err != nil {
			return err
		}
		c.Took = load.Duration(time.Since(start))
		return uncordon(ctx)
	})
	return c, err
}

// moved waits until the application is whole without a host.
func (l *Lab) moved(ctx context.Context, witness, from string) error {
	client, err := l.client(ctx, witness)
	if err != nil {
		return err
	}
	return until(ctx, settleLimit, 100*time.Millisecond, "the pods of "+from+" run elsewhere", func(ctx context.Context) error {
		if err := appWhole(ctx, client); err != nil {
			return err
		}
		c, err := l.cast(ctx)
		if err == nil && len(c.pods[from]) > 0 {
			err = fmt.Errorf("%s still has pods: %v", from, c.pods[from])
		}
		return err
	})
}
