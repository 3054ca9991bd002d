package judge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/orpheus-mesh/orpheus/node/binder"
	"github.com/orpheus-mesh/orpheus/placement"
)

const scenarios = 200

// ours is what placement says of the pod by the binder's own translation: all hosts that could take it, or the message.
func ours(t *testing.T, s *scenario, pod *corev1.Pod) (fits map[string]bool, message string) {
	t.Helper()
	v := binder.View(binder.Objects{Nodes: s.nodes, Pods: append(slices.Clone(s.run), pod), Namespaces: s.spaces})
	if err := placement.Validate(v); err != nil {
		t.Fatal(err)
	}
	plan := placement.Place(v, placement.Options{Candidates: 64}) // more than there are hosts: the alternatives are all that fit
	fits = map[string]bool{}
	for _, b := range plan.Binds {
		for _, h := range append(b.Others, b.Host) {
			fits[h] = true
		}
	}
	for _, p := range plan.Pending {
		message = binder.Message(p)
	}
	if len(plan.Binds)+len(plan.Pending) != 1 {
		t.Fatalf("%d binds and %d pending for one pod", len(plan.Binds), len(plan.Pending))
	}
	return fits, message
}

// Placement and kube-scheduler agree for every pod on every node; and where none fits, they use the same words.
func TestUpstreamAgrees(t *testing.T) {
	by, fit, worded := map[string]int{}, 0, 0
	for seed := range uint64(scenarios) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newScenario(seed)
			u := newUpstream(t, s)
			for _, pod := range s.wait {
				theirs, err := u.judge(t.Context(), pod)
				if err != nil {
					t.Fatal(err)
				}
				fits, message := ours(t, s, pod)
				for _, n := range s.nodes {
					if fits[n.Name] != theirs.fits[n.Name] {
						t.Errorf("%s on %s: upstream says %v, placement %v\n%s\n%s\npod %s\nnode %s", pod.Name, n.Name, theirs.fits[n.Name], fits[n.Name], theirs.message, message, text(pod), text(n))
					}
				}
				for plugin, n := range theirs.by {
					by[plugin] += n
				}
				fit += len(fits)
				if len(fits) > 0 || named(pod) {
					continue
				}
				if worded++; message != theirs.message {
					t.Errorf("%s:\nupstream  %s\nplacement %s\n%s", pod.Name, theirs.message, message, text(pod))
				}
			}
		})
	}
	t.Logf("%d fits; refusals by plugin %v; %d messages compared", fit, by, worded)
	for _, plugin := range []string{"NodeUnschedulable", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity"} {
		if by[plugin] < 20 {
			t.Errorf("%s refused %d times only: the scenarios do not ask it", plugin, by[plugin])
		}
	}
	if fit < 500 || worded < 100 {
		t.Errorf("%d fits and %d messages are too few to judge by", fit, worded)
	}
}

// named tells that the pod names its nodes by field: upstream then speaks of its plugins' shortcut, not of nodes.
func named(p *corev1.Pod) bool { return strings.Contains(text(p), `"matchFields"`) }

func text(o any) string {
	b, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
