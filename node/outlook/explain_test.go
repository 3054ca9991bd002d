package outlook

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/placement"
)

func TestExplanationSpeaksForNodes(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "big"}}
	const unseen = "node(s) were not ready: node(s) had untolerated taint {node.kubernetes.io/unreachable: }"
	e := Explain(pod, control.Home{Server: "m1"}, placement.Explanation{
		Known: true, Hosts: 2, Refusals: []placement.Refusal{{Host: "a", Reasons: []string{unseen}}, {Host: "b", Reasons: []string{"Insufficient cpu"}}},
		Pending:  placement.Pending{Hosts: 2, Reasons: []placement.Reason{{Text: unseen, Hosts: 1}, {Text: "Insufficient cpu", Hosts: 1}}},
		Remedies: []placement.Remedy{{Host: "b", Changes: []placement.Change{{Kind: placement.Resource, What: "cpu", Amount: 1500}, {Kind: placement.Resource, What: "memory", Amount: 1 << 30}, {Kind: placement.Tolerate, What: "k=v:NoSchedule"}}}},
	})
	if e.Message != "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }." {
		t.Error(e.Message)
	}
	if r := e.Refusals[0].Reasons[0]; strings.Contains(r, "not ready: ") {
		t.Error(r)
	}
	if got, want := e.Remedies[0].Changes, []string{"1500m more cpu", "1Gi more memory", "tolerate the taint k=v:NoSchedule"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Every change has words of its own: a kind that is added to placement fails here.
func TestEveryChangeHasWords(t *testing.T) {
	said := map[string]placement.ChangeKind{}
	for k := placement.Ready; k <= placement.KeptApart; k++ {
		text := change(placement.Change{Kind: k, What: "x", Amount: 1})
		if other, twice := said[text]; twice || text == k.String()+" x" {
			t.Errorf("%s: %q (also %s)", k, text, other)
		}
		said[text] = k
	}
}

func TestWhoIsNotDecidedOnSaysWhy(t *testing.T) {
	for want, p := range map[string]*corev1.Pod{
		"it has ended (Succeeded)":               {Status: corev1.PodStatus{Phase: corev1.PodSucceeded}},
		"scheduling gates hold it: a, b":         {Spec: corev1.PodSpec{SchedulingGates: []corev1.PodSchedulingGate{{Name: "a"}, {Name: "b"}}}},
		"it asks for another scheduler, volcano": {Spec: corev1.PodSpec{SchedulerName: "volcano"}},
		"this server does not know it yet":       {},
	} {
		if got := Explain(p, control.Home{}, placement.Explanation{}).Waits; !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
