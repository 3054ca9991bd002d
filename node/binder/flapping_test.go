package binder

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A host that comes and goes gets at once what no other host can take, and nothing else: no pod waits because of it.
func TestFlappingHostIsTheLastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flapping atomic.Pointer[map[string]time.Time]
		flapping.Store(&map[string]time.Time{"a": time.Now().Add(time.Minute)})
		s := newStandWith(t, func(c *Config) {
			c.Flapping = func() map[string]time.Time { return *flapping.Load() }
		}, node("a", "8"), node("b", "2"))
		defer func() { s.stop() }()
		began := time.Now()
		s.create(pod("old", "1", on("a")), pod("fits", "1"), pod("too large", "4"), pod("daemon", "100m", onlyOn("a")))
		if s.bound["fits"] != "b" || s.bound["too large"] != "a" || s.bound["daemon"] != "a" || time.Since(began) > time.Second {
			t.Fatalf("bound %v after %s", s.bound, time.Since(began))
		}
		e, err := s.b.Explain(pod("asks", "100m"))
		if err != nil || e.Host != "b" || len(e.Candidates) != 2 || e.Candidates[0].Last || !e.Candidates[1].Last {
			t.Errorf("%+v, %v", e, err)
		}
		flapping.Store(&map[string]time.Time{})
		s.create(pod("next", "1"))
		if s.bound["next"] != "a" {
			t.Errorf("bound %v after the host was steady", s.bound)
		}
	})
}

// onlyOn is what the pods of a DaemonSet have.
func onlyOn(host string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{host}}}}}}}}
	}
}
