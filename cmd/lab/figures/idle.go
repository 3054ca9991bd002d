package figures

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// IdleRun is what the daemons use when nobody asks them anything.
type IdleRun struct {
	Starts []load.Duration `json:"starts"` // of one host's daemon
	Binary int64           `json:"binaryBytes"`
	Window load.Duration   `json:"window"`
	Hosts  []IdleHost      `json:"hosts"`
}

// IdleHost is one host's daemon.
type IdleHost struct {
	Host     string  `json:"host"`
	Pods     int     `json:"pods"`
	Resident uint64  `json:"residentBytes"` // the most that was seen
	CPU      float64 `json:"cpu"`           // part of one core
}

const megabyte = 1e6

// Idle restarts a daemon a few times, lets the mesh come to rest, and measures every daemon over the window.
func (l *Lab) Idle(ctx context.Context, restarts int, window time.Duration) (_ *Result, err error) {
	r, done := l.figure("idle")
	defer done()
	run := IdleRun{}
	host := l.Hosts[len(l.Hosts)-1]
	defer mend(ctx, &err, "bring the daemon back", func(ctx context.Context) error { return l.alive(ctx, host) })
	for range restarts {
		took, err := l.restart(ctx, host)
		if err != nil {
			return r, err
		}
		run.Starts = append(run.Starts, load.Duration(took))
		l.Say("  daemon of %s ready after %.2f s", host, took.Seconds())
		pause(ctx, 2*time.Second)
	}
	info, err := os.Stat(l.M.Binary)
	if err != nil {
		return r, err
	}
	run.Binary = info.Size()
	rest := min(window, 30*time.Second)
	l.Say("  %s of rest, then %s of measuring", rest, window)
	pause(ctx, rest)
	if run.Hosts, err = l.rest(ctx, window); err != nil {
		return r, err
	}
	run.Window = load.Duration(window)
	r.Runs = []IdleRun{run}
	r.Rows = []Row{
		row("start of the daemon to ready", "s", each(run.Starts, seconds)...).atMost(anything, 3),
		row("resident memory of the daemon, idle", "MB", each(run.Hosts, func(h IdleHost) float64 { return float64(h.Resident) / megabyte })...).atMost(anything, 300),
		row("CPU of the daemon, idle", "% of a core", each(run.Hosts, func(h IdleHost) float64 { return 100 * h.CPU })...).atMost(anything, 3),
		row("binary", "MB", float64(run.Binary)/megabyte).atMost(anything, 140),
	}
	for _, h := range run.Hosts {
		r.Notes = append(r.Notes, fmt.Sprintf("%s with %d pods: %.0f MB, %.2f %%", h.Host, h.Pods, float64(h.Resident)/megabyte, 100*h.CPU))
	}
	return r, nil
}

func (l *Lab) restart(ctx context.Context, host string) (time.Duration, error) {
	if err := l.M.Stop(ctx, host); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := l.M.Start(ctx, host, ""); err != nil {
		return 0, err
	}
	err := l.daemonReady(ctx, host, time.Minute)
	return time.Since(start), err
}

// rest reads every daemon's memory six times, and its processor time at the ends.
func (l *Lab) rest(ctx context.Context, window time.Duration) ([]IdleHost, error) {
	first, start := map[string]time.Duration{}, time.Now()
	most := map[string]uint64{}
	const looks = 6
	for i := range looks + 1 {
		if i > 0 {
			pause(ctx, window/looks)
		}
		all, err := l.M.Bed.Mem()
		if err != nil {
			return nil, err
		}
		took := time.Since(start)
		var hosts []IdleHost
		for _, u := range all {
			d, ok := u.Daemons["orpheus"]
			if !ok {
				return nil, fmt.Errorf("the daemon of %s does not run", u.Host)
			}
			if i == 0 {
				first[u.Host] = d.CPU
			}
			most[u.Host] = max(most[u.Host], d.Resident)
			hosts = append(hosts, IdleHost{Host: u.Host, Resident: most[u.Host], CPU: (d.CPU - first[u.Host]).Seconds() / took.Seconds()})
		}
		if i == looks {
			return l.countPods(ctx, hosts)
		}
	}
	return nil, ctx.Err()
}

func (l *Lab) countPods(ctx context.Context, hosts []IdleHost) ([]IdleHost, error) {
	for i := range hosts {
		pods, err := l.podsOn(ctx, hosts[i].Host)
		if err != nil {
			return nil, err
		}
		hosts[i].Pods = len(pods)
	}
	return hosts, ctx.Err()
}
