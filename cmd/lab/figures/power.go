package figures

import (
	"context"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// Load is how hard the application is asked.
type Load struct {
	Rate   float64       // requests per second
	Around time.Duration // of a power cut, in all
}

// PowerRun is one power cut.
type PowerRun struct {
	Victim    string        `json:"victim"`
	Pods      int           `json:"pods"`      // that died
	Withdrawn load.Duration `json:"withdrawn"` // until its addresses took no more traffic
	Ready     load.Duration `json:"ready"`     // until as many pods as before were Ready
	Load      load.Report   `json:"load"`
}

// Power cuts the power of a host that runs part of the application, but not its database, under load through the survivors, and boots it again.
func (l *Lab) Power(ctx context.Context, n int, how Load) (*Result, error) {
	r, done := l.figure("power cut")
	defer done()
	var runs []PowerRun
	err := l.repeat(ctx, r, n, func(i int) error {
		run, err := l.cutPower(ctx, i, how)
		if err != nil {
			return err
		}
		runs = append(runs, run)
		l.Say("  %s with %d pods: withdrawn %.2f s, ready %.2f s, %d of %d requests failed", run.Victim, run.Pods,
			seconds(run.Withdrawn), seconds(run.Ready), run.Load.Failed, run.Load.Sent)
		return nil
	})
	r.Runs = runs
	r.Rows = []Row{
		row("power cut to endpoints withdrawn", "s", each(runs, func(p PowerRun) float64 { return seconds(p.Withdrawn) })...).atMost(3, anything),
		row("power cut to replacement pods Ready", "s", each(runs, func(p PowerRun) float64 { return seconds(p.Ready) })...).atMost(5, 10),
		row("requests failed around it", "%", each(runs, func(p PowerRun) float64 { return 100 * p.Load.FailedPart })...).atMost(anything, 0.5),
		row("longest time without an answer", "s", each(runs, func(p PowerRun) float64 { return seconds(p.Load.LongestGap) })...),
	}
	return r, err
}

func (l *Lab) cutPower(ctx context.Context, i int, how Load) (run PowerRun, err error) {
	victim, err := l.choose(ctx, turned(l.Hosts, i), false)
	if err != nil {
		return run, err
	}
	defer mend(ctx, &err, "bring "+victim+" back", func(ctx context.Context) error {
		if _, on := l.M.PID(victim); on {
			return nil
		}
		return l.Stage.Return(ctx, victim)
	})
	cut, err := l.Stage.CutVictim(ctx, victim, how.Rate, min(10*time.Second, how.Around/4), how.Around, l.Hosts)
	if err == nil {
		err = ctx.Err() // the load ended early: its failures are of another length of time
	}
	return PowerRun{cut.Victim, cut.Pods, load.Duration(cut.Withdrawn), load.Duration(cut.Ready), cut.Load}, err
}
