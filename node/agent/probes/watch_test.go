package probes

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestTally(t *testing.T) {
	var c tally
	for i, step := range []struct {
		ok   bool
		want Result
	}{{true, Unknown}, {true, Success}, {false, Unknown}, {false, Unknown}, {false, Failure}, {true, Unknown}, {false, Unknown}, {true, Unknown}, {true, Success}} {
		if got := c.add(step.ok, 2, 3); got != step.want {
			t.Errorf("answer %d (%v): %v, want %v", i, step.ok, got, step.want)
		}
	}
}

// patient answers by a script that is a function of virtual time since its start.
type patient struct {
	born    time.Time
	healthy func(kind *v1.Probe, age time.Duration) (bool, error)
	mu      sync.Mutex
	asked   []time.Duration
}

func (p *patient) Check(_ context.Context, _ Target, probe *v1.Probe) (bool, string, error) {
	age := time.Since(p.born)
	p.mu.Lock()
	p.asked = append(p.asked, age)
	p.mu.Unlock()
	ok, err := p.healthy(probe, age)
	return ok, "said so", err
}

func start(t *testing.T, c *v1.Container, before *Standing, healthy func(*v1.Probe, time.Duration) (bool, error)) (*Watch, *patient, *[]string) {
	p := &patient{born: time.Now(), healthy: healthy}
	var unwell []string
	var mu sync.Mutex
	w := Start(t.Context(), p, Target{Container: c, Started: time.Now()}, before, func() {}, func(s string) {
		mu.Lock()
		defer mu.Unlock()
		unwell = append(unwell, s)
	})
	t.Cleanup(w.Stop)
	return w, p, &unwell
}

func tcp(delay, period, failures int32) *v1.Probe {
	return &v1.Probe{ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(1)}},
		InitialDelaySeconds: delay, PeriodSeconds: period, SuccessThreshold: 1, FailureThreshold: failures}
}

func TestReadinessIsAskedEagerlyAndThenEveryPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &v1.Container{ReadinessProbe: tcp(0, 10, 1)}
		w, p, unwell := start(t, c, nil, func(_ *v1.Probe, age time.Duration) (bool, error) { return age >= 10*time.Second, nil })
		synctest.Wait()
		if got := w.Standing(); got.Readiness != Failure || got.Startup != Success || got.Liveness != Success {
			t.Errorf("at the start: %+v", got)
		}
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		if got := w.Standing().Readiness; got != Success {
			t.Errorf("after a good answer: %v", got)
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 50 * ms, 150 * ms, 350 * ms, 750 * ms, 1550 * ms, 10 * time.Second}; !slices.Equal(p.asked, want) {
			t.Errorf("asked at %v, want %v", p.asked, want)
		}
		if len(*unwell) != 0 {
			t.Errorf("told of a container that was only starting: %q", *unwell)
		}
	})
}

func TestAContainerThatNeedsAMomentIsReadyAfterThatMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &v1.Container{ReadinessProbe: tcp(0, 10, 1)}
		w, _, _ := start(t, c, nil, func(_ *v1.Probe, age time.Duration) (bool, error) { return age >= 100*time.Millisecond, nil })
		time.Sleep(150*time.Millisecond + 1)
		synctest.Wait()
		if got := w.Standing().Readiness; got != Success {
			t.Errorf("at 150 ms: %v", got)
		}
	})
}

func TestWhatFailsAfterTheFirstPeriodIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, unwell := start(t, &v1.Container{ReadinessProbe: tcp(0, 10, 1)}, nil, func(*v1.Probe, time.Duration) (bool, error) { return false, nil })
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		if len(*unwell) != 1 || (*unwell)[0] != "Readiness probe failed: said so" {
			t.Errorf("told: %q", *unwell)
		}
	})
}

func TestOthersWaitForTheStartupProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &v1.Container{StartupProbe: tcp(0, 1, 10), LivenessProbe: tcp(0, 1, 2)}
		alive := func(p *v1.Probe, age time.Duration) (bool, error) {
			if p == c.StartupProbe {
				return age >= 5*time.Second, nil
			}
			return age < 20*time.Second, nil
		}
		w, _, _ := start(t, c, nil, alive)
		time.Sleep(4*time.Second + 1)
		synctest.Wait()
		if got := w.Standing(); got.Startup != Unknown || got.Liveness != Success {
			t.Errorf("while starting: %+v", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := w.Standing(); got.Startup != Success || got.Liveness != Success {
			t.Errorf("running: %+v", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := w.Standing(); got.Liveness != Failure {
			t.Errorf("ill: %+v", got)
		}
	})
}

func TestARestartedDaemonBelievesWhatWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &v1.Container{ReadinessProbe: tcp(0, 10, 3)}
		w, p, _ := start(t, c, &Standing{Startup: Success, Readiness: Success}, func(*v1.Probe, time.Duration) (bool, error) { return true, nil })
		synctest.Wait()
		if got := w.Standing().Readiness; got != Success {
			t.Errorf("before the first answer: %v", got)
		}
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		if len(p.asked) == 0 {
			t.Error("not asked within a period")
		}
	})
}

func TestNoWayToAskChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &v1.Container{LivenessProbe: tcp(0, 1, 1)}
		w, _, unwell := start(t, c, nil, func(*v1.Probe, time.Duration) (bool, error) { return false, errors.New("engine is down") })
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := w.Standing().Liveness; got != Success || len(*unwell) != 0 {
			t.Errorf("%v, told %q", got, *unwell)
		}
	})
}
