package probes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Target is the container that is asked.
type Target struct {
	ID        string // on the engine
	Address   string // of the pod
	Container *v1.Container
	Started   time.Time
}

// Asker asks a container once; Checker is the real one.
type Asker interface {
	Check(ctx context.Context, t Target, p *v1.Probe) (ok bool, said string, err error)
}

// Watch is the probing of one container for as long as it runs.
type Watch struct {
	ask     Asker
	target  Target
	changed func()             // may not block
	unwell  func(what string)  // told of every failed answer; may not block
	old     bool               // it ran before this life of the daemon: first answers are spread
	started chan struct{}      // closed when the startup probe is passed
	cancel  context.CancelFunc // ends the goroutines
	wait    sync.WaitGroup

	mu  sync.Mutex // guards now
	now Standing
}

// Wanted tells that a container has probes at all.
func Wanted(c *v1.Container) bool {
	return c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil
}

// Start begins to ask. before is what is believed until the first answers: after a restart of the daemon what was published
// last, so that nothing flaps. Stop must be called.
func Start(ctx context.Context, ask Asker, t Target, before *Standing, changed func(), unwell func(string)) *Watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{ask: ask, target: t, changed: changed, unwell: unwell, cancel: cancel, old: before != nil,
		started: make(chan struct{}), now: Standing{Startup: Success, Liveness: Success, Readiness: Success}}
	c := t.Container
	if c.StartupProbe != nil {
		w.now.Startup = Unknown
	}
	if c.ReadinessProbe != nil {
		w.now.Readiness = Failure
	}
	if before != nil {
		w.now.Startup, w.now.Readiness = before.Startup, before.Readiness
	}
	if w.now.Startup == Success {
		close(w.started)
	} else {
		w.wait.Go(func() { w.loop(ctx, "Startup", c.StartupProbe, &w.now.Startup) })
	}
	w.after(ctx, "Liveness", c.LivenessProbe, &w.now.Liveness)
	w.after(ctx, "Readiness", c.ReadinessProbe, &w.now.Readiness)
	return w
}

// Standing is how the container is doing now.
func (w *Watch) Standing() Standing {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Stop ends the asking and waits for it.
func (w *Watch) Stop() {
	w.cancel()
	w.wait.Wait()
}

// after runs a probe once the container has started.
func (w *Watch) after(ctx context.Context, kind string, p *v1.Probe, result *Result) {
	if p == nil {
		return
	}
	w.wait.Go(func() {
		select {
		case <-w.started:
			w.loop(ctx, kind, p, result)
		case <-ctx.Done():
		}
	})
}

// loop asks at once and then every period. A liveness or startup probe that failed for good is not asked again: the
// container is going to be restarted.
func (w *Watch) loop(ctx context.Context, kind string, p *v1.Probe, result *Result) {
	period := time.Duration(max(p.PeriodSeconds, 1)) * time.Second
	first := time.Until(w.target.Started.Add(time.Duration(p.InitialDelaySeconds) * time.Second))
	if w.old {
		first = max(first, rand.N(period))
	}
	if !sleep(ctx, first) {
		return
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	if !w.old && kind != "Liveness" && !w.eager(ctx, p, period) {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	var t tally
	for ctx.Err() == nil {
		ok, said, err := w.ask.Check(ctx, w.target, p)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if !ok {
				w.unwell(fmt.Sprintf("%s probe failed: %s", kind, strings.TrimSpace(said)))
			}
			if r := t.add(ok, p.SuccessThreshold, p.FailureThreshold); w.set(result, r, kind) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

const (
	eagerPause = 50 * time.Millisecond // after the first answer, doubled after each
	eagerSpan  = 2 * time.Second       // or the period, where that is shorter
)

// eager asks a container that was only just started until it gives a good answer, which the caller asks for again to
// count it, or until it is as old as a period: most programs need a moment to listen, and a whole period lost on that
// moment is a whole period without the pod. What fails here neither counts nor is told.
func (w *Watch) eager(ctx context.Context, p *v1.Probe, period time.Duration) bool {
	end := time.Now().Add(min(period, eagerSpan))
	for pause := eagerPause; ; pause *= 2 {
		if ok, _, err := w.ask.Check(ctx, w.target, p); ok && err == nil {
			return true
		}
		if time.Now().Add(pause).After(end) || !sleep(ctx, pause) {
			return false
		}
	}
}

// set records a result and tells whether the probe is finished by it.
func (w *Watch) set(result *Result, r Result, kind string) (finished bool) {
	w.mu.Lock()
	changed := r != Unknown && *result != r
	if changed {
		*result = r
	}
	w.mu.Unlock()
	if kind == "Startup" && r == Success {
		close(w.started)
	}
	if changed {
		w.changed()
	}
	return kind == "Startup" && r != Unknown || kind == "Liveness" && r == Failure
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
