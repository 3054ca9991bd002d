package binder

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRoomByPriority(t *testing.T) {
	never := func(p *corev1.Pod) { n := corev1.PreemptNever; p.Spec.PreemptionPolicy = &n }
	hosts := []*corev1.Node{node("a", "4"), node("b", "2")}
	running := []*corev1.Pod{pod("low", "3", on("a"), prio(5)), pod("high", "2", on("b"), prio(100))}
	keep := []*policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}}}}
	for name, c := range map[string]struct {
		pod      *corev1.Pod
		budgets  []*policyv1.PodDisruptionBudget
		host     string // "": no priority helps
		victim   string
		priority int32
	}{
		"its own suffices":    {pod: pod("p", "3", prio(9)), host: "a", victim: "low", priority: 9},
		"a higher one":        {pod: pod("p", "3", prio(1)), host: "a", victim: "low", priority: 6},
		"without a priority":  {pod: pod("p", "3"), host: "a", victim: "low", priority: 6},
		"it must not preempt": {pod: pod("p", "3", prio(9), never), host: "a", victim: "low", priority: 9},
		"nothing so large":    {pod: pod("p", "9", prio(9))},
		"it fits anyway":      {pod: pod("p", "1", prio(9))},
		"against a budget":    {pod: pod("p", "3", prio(9)), budgets: keep},
	} {
		v := View(Objects{Nodes: hosts, Pods: append(running[:2:2], c.pod), Budgets: c.budgets})
		room, ok := makeRoom(v, string(c.pod.UID))
		if ok != (c.host != "") {
			t.Errorf("%s: %+v, %t", name, room, ok)
			continue
		}
		if ok && (room.Host != c.host || len(room.Victims) != 1 || room.Victims[0].Name != c.victim || room.Priority != c.priority) {
			t.Errorf("%s: %+v", name, room)
		}
	}
}
