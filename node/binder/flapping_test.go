package binder

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A host that comes and goes gets no new pods, keeps those that it has, and is used again when it is said to be steady.
func TestFlappingHostGetsNoNewPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flapping atomic.Pointer[map[string]time.Time]
		flapping.Store(&map[string]time.Time{"a": time.Now().Add(time.Minute)})
		changed := make(chan struct{}, 1)
		s := newStandWith(t, func(c *Config) {
			c.Changed, c.Flapping = changed, func() map[string]time.Time { return *flapping.Load() }
		}, node("a", "8"), node("b", "1"))
		defer func() { s.stop() }()
		s.create(pod("old", "1", on("a")), pod("fits", "1"), pod("waits", "1"))
		why := s.why("waits")
		if s.bound["fits"] != "b" || s.bound["waits"] != "" || s.pod("old").Spec.NodeName != "a" {
			t.Fatalf("bound %v", s.bound)
		}
		if want := "0/2 nodes are available: 1 Insufficient cpu, 1 " + Flapping + "."; why != want {
			t.Errorf("got  %s\nwant %s", why, want)
		}
		e, err := s.b.Explain(s.pod("waits"))
		if err != nil || !strings.Contains(strings.Join(e.Refusals[0].Reasons, " "), Flapping) {
			t.Errorf("%+v, %v", e.Refusals, err)
		}
		time.Sleep(time.Minute)
		flapping.Store(&map[string]time.Time{})
		changed <- struct{}{}
		time.Sleep(lastPause)
		synctest.Wait()
		if s.bound["waits"] != "a" {
			t.Errorf("bound %v after the host was steady", s.bound)
		}
	})
}
