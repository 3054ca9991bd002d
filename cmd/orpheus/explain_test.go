package main

import (
	"strings"
	"testing"

	"github.com/orpheus-mesh/orpheus/node/control"
)

func TestPodIsNamedAsInKubectl(t *testing.T) {
	for args, want := range map[string]string{"pod web": "web", "pod/web": "web", "po web": "web", "pods/web": "web"} {
		if got, err := podName(strings.Fields(args)); got != want || err != nil {
			t.Errorf("%s: %q, %v", args, got, err)
		}
	}
	for _, args := range []string{"web", "pod", "pod/", "deployment web", "pod a/b"} {
		if got, err := podName(strings.Fields(args)); err == nil {
			t.Errorf("%s: %q", args, got)
		}
	}
}

func TestExplanationOfOneThatWaits(t *testing.T) {
	var out strings.Builder
	err := printExplanation(&out, control.Explanation{Namespace: "shop", Pod: "big", Nodes: 2, Message: "0/2 nodes are available: 2 Insufficient cpu.",
		Home: control.Home{Server: "m2", Root: "core/pods shop/big", Alive: 3, Next: []string{"m3", "m1"}},
		Room: &control.Room{Node: "m1", Priority: 6, Leave: []string{"shop/a", "shop/b"}}, Notes: []string{"so it is"},
		Refusals: []control.Refusal{{Node: "m1", Reasons: []string{"Insufficient cpu", "Insufficient memory"}}},
		Remedies: []control.Remedy{{Node: "m1", Changes: []string{"500m more cpu", "1Gi more memory"}}}})
	want := `pod shop/big fits nowhere: 0/2 nodes are available: 2 Insufficient cpu.
home: m2, by rendezvous of core/pods shop/big over 3 server(s) in sight; after it m3, m1

NODE  RANK  SCORE  WHY
m1    -     -      Insufficient cpu, Insufficient memory

It would fit, the least change first:
  on m1: 500m more cpu; 1Gi more memory

With a priority of 6 or more, and leave to preempt, it would get room on m1: shop/a, shop/b would go. No disruption budget stands against it.

note: so it is
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestExplanationOfOneThatRuns(t *testing.T) {
	var out strings.Builder
	err := printExplanation(&out, control.Explanation{Namespace: "shop", Pod: "web", Node: "m3", Bound: true, Nodes: 4, Fits: 4,
		Home:       control.Home{Server: "m1", Root: "apps/deployments shop/web", Alive: 3},
		Candidates: []control.Candidate{{Node: "m1", Score: 9, Parts: []control.Part{{Name: "load", Score: 5}, {Name: "spread", Score: 4}}}, {Node: "m3"}, {Node: "m2", Last: true}}})
	want := `pod shop/web is on m3
home: m1, by rendezvous of apps/deployments shop/web over 3 server(s) in sight

NODE      RANK  SCORE  WHY
m1        1     9      load 5, spread 4
m3 *      2     0      fits
m2        3     0      only when no other node can take it, because it came and went too often lately: fits
(1 more)  -     -      could take it too, but are farther from it by rendezvous

* is its node. The ranks are those of now, as if it were on none: a pod that has a node keeps it.
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestForecastHelpsEqualPodsOnce(t *testing.T) {
	help := []control.Remedy{{Node: "m1", Changes: []string{"uncordon the node"}}}
	misfit := func(name string) control.PodForecast {
		return control.PodForecast{Name: name, Fate: control.Misfit, Message: "full", Remedies: help}
	}
	var out strings.Builder
	err := printForecast(&out, control.Forecast{
		Workloads: []control.WorkloadForecast{{Kind: "Deployment", Namespace: "shop", Name: "web", Pods: []control.PodForecast{
			{Name: "web-1", Fate: control.Stays, Node: "m2"}, {Name: "web-2", Fate: control.Preempts, Node: "m2"}, misfit("web-3"), misfit("web-4")}}},
		Preempted: []control.PodMove{{Namespace: "shop", Pod: "old", From: "m2", For: "shop/web-2"}},
		Notes:     []string{"CronJob shop/c is left out"}})
	want := `OBJECT               POD    FATE      NODE  WHY
Deployment shop/web  web-1  stays     m2    -
Deployment shop/web  web-2  preempts  m2    -
Deployment shop/web  web-3  misfit    -     full
Deployment shop/web  web-4  misfit    -     full

Running pods that would be told to leave:
  shop/old from m2, to make room for shop/web-2

shop/web-3 (and each of 1 more) would fit, the least change first:
  on m1: uncordon the node

note: CronJob shop/c is left out

3 pod(s) would come, 0 go, 1 stay; 2 would fit NOWHERE. Nothing was applied.
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, &out)
	}
}
