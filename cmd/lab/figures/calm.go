package figures

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// Trouble is what a calm mesh has to bear.
type Trouble struct {
	Lasts  time.Duration
	Loss   float64       // percent of packets, at one host
	Freeze time.Duration // of another host, once a minute
}

// CalmRun is what the trouble did.
type CalmRun struct {
	Lossy, Frozen, Witness string
	Lasted                 load.Duration       `json:"lasted"`
	Freezes                int                 `json:"freezes"`
	Movements              Movements           `json:"movements"`
	Verdicts               map[string]Verdicts `json:"verdicts"` // by the host that judged
}

// Calm loses packets at one host, freezes another one again and again, and counts the pods that this made, ended or moved. Both hosts run
// part of the application where there are enough that do; a third one is the witness.
func (l *Lab) Calm(ctx context.Context, how Trouble) (_ *Result, err error) {
	r, done := l.figure("calm")
	defer done()
	if err := l.Whole(ctx); err != nil {
		return r, err
	}
	run, err := l.troubled(ctx)
	if err != nil {
		return r, err
	}
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	client, err := l.client(ctx, run.Witness)
	if err != nil {
		return r, err
	}
	seen, err := record(watchCtx, client)
	if err != nil {
		return r, err
	}
	marks, err := l.markLogs()
	if err != nil {
		return r, err
	}
	l.Say("  %s loses %.0f %% of its packets, %s stands still for %s a minute, %s watches, for %s", run.Lossy, how.Loss, run.Frozen, how.Freeze, run.Witness, how.Lasts)
	start := time.Now()
	defer mend(ctx, &err, "end the trouble", func(ctx context.Context) error {
		return errors.Join(l.M.Bed.Loss(run.Lossy, 0), l.M.Bed.Resume(ctx, run.Frozen))
	})
	if err := l.M.Bed.Loss(run.Lossy, how.Loss); err != nil {
		return r, err
	}
	err = l.freezes(ctx, how, &run, func() error {
		v, err := l.verdicts(marks)
		suspected, failed := sum(v)
		l.Say("  %5.1f min: %+v, %d suspicions, %d verdicts of death", time.Since(start).Minutes(), seen.movements(), suspected, failed)
		return err
	})
	run.Lasted, run.Movements = load.Duration(time.Since(start)), seen.movements()
	if run.Verdicts, err = l.verdictsAfter(marks, err); err != nil {
		return r, err
	}
	r.Runs = []CalmRun{run}
	r.calmRows(run)
	return r, nil
}

func (l *Lab) verdictsAfter(marks logs, err error) (map[string]Verdicts, error) {
	if err != nil {
		return nil, err
	}
	return l.verdicts(marks)
}

// freezes stops a host for a moment at the beginning of each minute, until the time is over.
func (l *Lab) freezes(ctx context.Context, how Trouble, run *CalmRun, tell func() error) error {
	end := time.Now().Add(how.Lasts)
	for time.Now().Before(end) && ctx.Err() == nil {
		minute := time.Now()
		if err := l.M.Bed.Pause(ctx, run.Frozen); err != nil {
			return err
		}
		pause(ctx, how.Freeze)
		if err := l.M.Bed.Resume(context.WithoutCancel(ctx), run.Frozen); err != nil {
			return err
		}
		run.Freezes++
		pause(ctx, min(time.Minute-time.Since(minute), time.Until(end)))
		if err := tell(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// troubled casts the parts, the busiest hosts first.
func (l *Lab) troubled(ctx context.Context) (run CalmRun, err error) {
	if len(l.Hosts) < 2 {
		return run, errors.New("trouble at one host and at another one needs two")
	}
	c, err := l.cast(ctx)
	if err != nil {
		return run, err
	}
	left := append([]string(nil), l.Hosts...)
	take := func() string {
		v := c.victim(left, false)
		if v == "" {
			v = left[0]
		}
		rest := left[:0:0]
		for _, h := range left {
			if h != v {
				rest = append(rest, h)
			}
		}
		left = rest
		return v
	}
	run.Lossy, run.Frozen = take(), take()
	run.Witness = run.Frozen // of two hosts: its watches stand still with it, and go on
	if len(left) > 0 {
		run.Witness = left[0]
	}
	return run, nil
}

func (r *Result) calmRows(run CalmRun) {
	m := run.Movements
	suspected, failed := sum(run.Verdicts)
	r.Rows = []Row{
		row("pods created", "", float64(m.Created)).atMost(0, 0),
		row("pods deleted", "", float64(m.Deleted)).atMost(0, 0),
		row("pods moved", "", float64(m.Moved)).atMost(0, 0),
		row("containers restarted", "", float64(m.Restarts)),
		row("hosts declared dead", "", float64(failed)),
		row("hosts suspected", "", float64(suspected)),
		row("addresses withdrawn for a while", "", float64(m.Withdrawn)),
	}
	r.Notes = append(r.Notes, fmt.Sprintf("%.1f minutes: %s lost packets, %s was frozen %d times, %s watched",
		time.Duration(run.Lasted).Minutes(), run.Lossy, run.Frozen, run.Freezes, run.Witness))
}
