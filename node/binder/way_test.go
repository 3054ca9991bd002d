package binder

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/placement"
)

// Twelve of one core run on three hosts of eight, so each has four cores free. A pod of five fits as soon as one makes way.
func TestARunningPodMakesWayForOneThatFitsNowhere(t *testing.T) {
	for _, mode := range []placement.Rebalance{placement.Gentle, placement.Eager} {
		synctest.Test(t, func(t *testing.T) {
			tr := newTroupe(t, mode)
			defer func() { tr.stop() }()
			tr.pass(2 * time.Minute)
			tr.create(pod("big", "5"))
			tr.pass(stuckFor - time.Second)
			if len(tr.gone()) != 0 {
				t.Fatal("a pod had to go before it was sure that it must")
			}
			tr.pass(2 * time.Minute)
			host := tr.pod("big").Spec.NodeName
			if len(tr.gone()) != 1 || host == "" || tr.on(host) != 4 { // it and three of the twelve
				t.Errorf("mode %d: %d evicted, big is on %q with %d pods: %s", mode, len(tr.gone()), host, tr.on(host), tr.why("big"))
			}
			if tr.events("Rebalanced") != 1 || tr.events("Preempted") != 0 {
				t.Errorf("%d events of making way, %d of preemption", tr.events("Rebalanced"), tr.events("Preempted"))
			}
		})
	}
}

// Nobody goes in vain, nor who must stay.
func TestNobodyMakesWayInVain(t *testing.T) {
	for name, c := range map[string]struct {
		mode   placement.Rebalance
		size   string
		pods   func(*corev1.Pod)
		before func(*troupe)
	}{
		"off":                       {mode: placement.Off, size: "5"},
		"fits":                      {mode: placement.Eager, size: "4"},
		"two of one workload":       {mode: placement.Eager, size: "6"},
		"too large for any host":    {mode: placement.Eager, size: "9"},
		"lacks its claim":           {mode: placement.Eager, size: "5", before: func(tr *troupe) { tr.change(func() { tr.lack = "no claim" }) }},
		"unsure":                    {mode: placement.Eager, size: "5", before: func(tr *troupe) { tr.change(func() { tr.steady = false }) }},
		"labelled":                  {mode: placement.Eager, size: "5", pods: func(p *corev1.Pod) { p.Labels[RebalanceLabel] = "off" }},
		"another home's":            {mode: placement.Eager, size: "5", before: func(tr *troupe) { tr.change(func() { tr.mine = func(n string) bool { return n != "big" } }) }},
		"its workload is not quiet": {mode: placement.Eager, size: "5", before: func(tr *troupe) { tr.create(tr.replica(on("n0"))) }},
		"a budget": {mode: placement.Eager, size: "5", before: func(tr *troupe) {
			tr.create(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"},
				Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var change []func(*corev1.Pod)
				if c.pods != nil {
					change = append(change, c.pods)
				}
				tr := newTroupe(t, c.mode, change...)
				defer func() { tr.stop() }()
				tr.pass(2 * time.Minute)
				if c.before != nil {
					c.before(tr)
				}
				tr.create(pod("big", c.size))
				tr.pass(10 * time.Minute)
				if len(tr.gone()) != 0 || tr.pod("big").Status.NominatedNodeName != "" {
					t.Errorf("%d evicted", len(tr.gone()))
				}
				if placed := tr.bound["big"] != ""; placed != (name == "fits") {
					t.Errorf("placed: %v, %s", placed, tr.why("big"))
				}
			})
		})
	}
}

// A budget that another home has used up meanwhile refuses the eviction: the promise is taken back, and the next search is later.
func TestAWayThatABudgetClosesIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, placement.Gentle)
		defer func() { tr.stop() }()
		asked := tr.evictions(func(string) bool { return true })
		tr.pass(2 * time.Minute)
		tr.create(pod("big", "5"))
		tr.pass(5 * time.Minute)
		if n := len(*asked); n < 2 || n > 6 {
			t.Errorf("asked %d times in five minutes", n)
		}
		p := tr.pod("big")
		if p.Spec.NodeName != "" || p.Status.NominatedNodeName != "" || !strings.Contains(tr.why("big"), "Insufficient cpu") {
			t.Errorf("%+v", p.Status)
		}
	})
}

// What is foretold is what then happens, also where it takes a pod that is too young to move at this moment. Nobody goes by it.
func TestMakingWayIsForetold(t *testing.T) {
	for mode, moves := range map[placement.Rebalance]int{placement.Off: 0, placement.Gentle: 1} {
		synctest.Test(t, func(t *testing.T) {
			tr := newTroupe(t, mode)
			defer func() { tr.stop() }()
			tr.pass(time.Second)
			big := pod("big", "5")
			seen, err := tr.b.Foresee([]*corev1.Pod{big}, nil)
			if err != nil {
				t.Fatal(err)
			}
			after, _ := seen.Pod(string(big.UID))
			if len(seen.Plan.Moves) != moves || (after.Host != "") != (moves > 0) || len(seen.Plan.Pending) != 1-moves {
				t.Fatalf("mode %d: foretold are %v, big on %q, %d that wait", mode, seen.Plan.Moves, after.Host, len(seen.Plan.Pending))
			}
			if moves > 0 {
				m := seen.Plan.Moves[0]
				if moved, _ := seen.Pod(m.Pod); m.From != after.Host || moved.Host != m.To {
					t.Errorf("%v for big on %s, but then it is on %s", m, after.Host, moved.Host)
				}
			}
			if len(tr.gone()) != 0 {
				t.Error("a forecast had somebody go")
			}
			tr.create(big)
			tr.pass(4 * time.Minute)
			if host := tr.pod("big").Spec.NodeName; (host != "") != (moves > 0) || len(tr.gone()) != moves {
				t.Errorf("mode %d: then big is on %q, and %d went", mode, host, len(tr.gone()))
			}
		})
	}
}
