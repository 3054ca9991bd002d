package figures

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

func pod(uid, app, host string, ready bool, restarts int32) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: uid, UID: types.UID(uid), Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: host},
		Status: corev1.PodStatus{
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "c", RestartCount: restarts, ContainerID: "docker://" + uid}},
		},
	}
}

func ending(p *corev1.Pod) *corev1.Pod {
	p.DeletionTimestamp = &metav1.Time{}
	return p
}

func slice(addresses map[string]bool) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{UID: "s"}}
	for a, ready := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return s
}

func TestRecorderCountsWhatHappens(t *testing.T) {
	r := newRecorder()
	r.put(pod("a", "x", "m1", true, 0)) // before it began: none of it counts
	r.put(slice(map[string]bool{"10.0.0.1": true, "10.0.0.2": true}))
	r.primed = true

	r.put(pod("a", "x", "m1", true, 0)) // the same again
	r.put(pod("a", "x", "m1", false, 0))
	r.put(pod("a", "x", "m1", true, 2))
	r.put(slice(map[string]bool{"10.0.0.1": false, "10.0.0.2": true}))
	r.put(slice(map[string]bool{"10.0.0.1": true, "10.0.0.2": true}))
	if got, want := r.movements(), (Movements{Unready: 1, Restarts: 2, Withdrawn: 1}); got != want {
		t.Errorf("a pod that hiccuped: %+v, want %+v", got, want)
	}
	r.put(pod("b", "x", "", false, 0))
	r.put(pod("b", "x", "m2", false, 0)) // bound, not moved
	r.put(ending(pod("a", "x", "m1", true, 2)))
	r.put(ending(pod("a", "x", "m1", false, 2)))
	r.remove(pod("a", "x", "m1", false, 2))
	r.remove(cache.DeletedFinalStateUnknown{Obj: pod("b", "x", "m2", false, 0)})
	r.remove(slice(map[string]bool{"10.0.0.2": true}))
	if got, want := r.movements(), (Movements{Created: 1, Deleted: 2, Unready: 2, Restarts: 2, Withdrawn: 2}); got != want {
		t.Errorf("a pod that was replaced: %+v, want %+v", got, want)
	}
	r.put(pod("c", "x", "m1", true, 0))
	r.put(pod("c", "x", "m2", true, 0))
	if got := r.movements().Moved; got != 1 {
		t.Errorf("%d pods moved, want 1", got)
	}
}

const log = `time=2026-11-21T06:00:00Z level=INFO msg="a peer's state changed" room=gossip peer=12D3x name=m2 from=alive to=suspect
time=2026-11-21T06:00:01Z level=INFO msg="a peer's state changed" room=gossip peer=12D3x name=m2 from=suspect to=alive
time=2026-11-21T06:00:02Z level=INFO msg="a peer's state changed" room=gossip peer=12D3x name=m2 from=alive to=suspect
time=2026-11-21T06:00:02Z level=INFO msg="pod starts" name=m3 to=suspect
time=2026-11-21T06:00:03Z level=INFO msg="a peer's state changed" room=gossip peer=12D3y name=m3 from=suspect to=failed
`

func TestVerdictsAreReadFromWhereTheLogWas(t *testing.T) {
	v, err := readVerdicts(strings.NewReader(log))
	if err != nil || len(v.Suspected) != 1 || v.Suspected["m2"] != 2 || len(v.Failed) != 1 || v.Failed["m3"] != 1 {
		t.Errorf("%+v, %v, want m2 suspected twice and m3 failed once", v, err)
	}
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(log), 0o644); err != nil {
		t.Fatal(err)
	}
	v, err = verdictsIn(file, int64(strings.Index(log, "\n")+1))
	if err != nil || v.Suspected["m2"] != 1 {
		t.Errorf("%+v, %v, want m2 suspected once after the first line", v, err)
	}
	suspected, failed := sum(map[string]Verdicts{"m1": v, "m4": v})
	if suspected != 2 || failed != 2 {
		t.Errorf("%d suspicions and %d verdicts of death of two hosts, want 2 and 2", suspected, failed)
	}
}

func TestVictim(t *testing.T) {
	c := castOf([]corev1.Pod{
		*pod("r", "redis", "m1", true, 0), *pod("b0", "backend", "m1", true, 0), *pod("b1", "backend", "m2", true, 0), *pod("b2", "backend", "m3", true, 0),
		*pod("f1", "frontend", "m3", true, 0), *pod("f2", "frontend", "m3", true, 0), *pod("x1", "extra", "m1", true, 0),
	})
	hosts := []string{"m1", "m2", "m3", "m4"}
	if got := c.victim(hosts, false); got != "m3" {
		t.Errorf("victim %q, want m3, which has most", got)
	}
	if got := c.victim(hosts, true); got != "m2" {
		t.Errorf("spared victim %q, want m2: m3 holds the whole front end", got)
	}
	if got := c.victim([]string{"m1", "m4"}, false); got != "" {
		t.Errorf("victim %q, want none: the database stays", got)
	}
}

func TestPodsAsWanted(t *testing.T) {
	want := map[string]int{"backend": 2}
	two := []corev1.Pod{*pod("a", "backend", "m1", true, 0), *pod("b", "backend", "m2", true, 0)}
	for name, c := range map[string]struct {
		want map[string]int
		pods []corev1.Pod
		ok   bool
	}{
		"whole":        {want, two, true},
		"not deployed": {nil, nil, false},
		"one too few":  {want, two[:1], false},
		"one too many": {want, append(two[:2:2], *pod("c", "backend", "m1", true, 0)), false},
		"not ready":    {want, append(two[:1:1], *pod("c", "backend", "m1", false, 0)), false},
		"ending":       {want, append(two[:1:1], *ending(pod("c", "backend", "m1", true, 0))), false},
	} {
		if err := podsAsWanted(c.want, c.pods); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSameContainers(t *testing.T) {
	a, b := pod("a", "x", "m1", true, 0), pod("a", "x", "m1", true, 1)
	if !sameContainers(a, b) {
		t.Error("the same container is another")
	}
	b.Status.ContainerStatuses[0].ContainerID = "docker://new"
	if sameContainers(a, b) {
		t.Error("another container is the same")
	}
}
