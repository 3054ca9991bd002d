package lens

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/orpheus-mesh/orpheus/gossip"
)

type always struct {
	state gossip.State
	since time.Time
}

func (a always) Host(string) (gossip.State, time.Time) { return a.state, a.since }

func TestPodsThroughTheLens(t *testing.T) {
	own, lost := time.Unix(100, 0), time.Unix(200, 0)
	for name, c := range map[string]struct {
		state  gossip.State
		phase  core.PodPhase
		stored core.ConditionStatus
		want   core.ConditionStatus
		reason string
		at     time.Time
	}{
		"in sight":                   {gossip.Alive, core.PodRunning, core.ConditionTrue, core.ConditionTrue, "", own},
		"suspect":                    {gossip.Suspect, core.PodRunning, core.ConditionTrue, core.ConditionFalse, NodeSuspect, lost},
		"lost":                       {gossip.Failed, core.PodRunning, core.ConditionTrue, core.ConditionFalse, NodeLost, lost},
		"left":                       {gossip.Left, core.PodRunning, core.ConditionTrue, core.ConditionFalse, NodeLost, lost},
		"lost, not ready before":     {gossip.Failed, core.PodRunning, core.ConditionFalse, core.ConditionFalse, NodeLost, own},
		"lost, had finished already": {gossip.Failed, core.PodSucceeded, core.ConditionFalse, core.ConditionFalse, "", own},
	} {
		p := &core.Pod{Spec: core.PodSpec{NodeName: "b"}, Status: core.PodStatus{Phase: c.phase, Conditions: []core.PodCondition{
			{Type: core.PodReady, Status: c.stored, LastTransitionTime: metav1.NewTime(own)},
			{Type: core.PodScheduled, Status: core.ConditionTrue},
		}}}
		before := p.DeepCopy()
		l := Lens{always{c.state, lost}}
		shown := l.View("core/pods", p).(*core.Pod)
		r := shown.Status.Conditions[0]
		if r.Status != c.want || r.Reason != c.reason || !r.LastTransitionTime.Time.Equal(c.at) {
			t.Errorf("%s: it reads %s %q since %v", name, r.Status, r.Reason, r.LastTransitionTime)
		}
		if shown.Status.Phase != c.phase || shown.Status.Conditions[1].Status != core.ConditionTrue {
			t.Errorf("%s: more changed than readiness: %+v", name, shown.Status)
		}
		if p.Status.Conditions[0] != before.Status.Conditions[0] {
			t.Errorf("%s: what is stored was changed", name)
		}
		sentBack := shown.DeepCopy()
		l.Restore("core/pods", p, sentBack)
		if sentBack.Status.Conditions[0] != before.Status.Conditions[0] {
			t.Errorf("%s: sent back, it would store %+v", name, sentBack.Status.Conditions[0])
		}
	}
}
