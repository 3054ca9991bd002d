package agent

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditionTaints keep new pods away while a condition is bad. Upstream's node lifecycle controller would set them; it does
// not run in a mesh, so that each host marks itself.
var conditionTaints = []struct {
	condition v1.NodeConditionType
	bad       v1.ConditionStatus
	taint     string
}{
	{v1.NodeReady, v1.ConditionFalse, v1.TaintNodeNotReady},
	{v1.NodeMemoryPressure, v1.ConditionTrue, v1.TaintNodeMemoryPressure},
	{v1.NodeDiskPressure, v1.ConditionTrue, v1.TaintNodeDiskPressure},
	{v1.NodePIDPressure, v1.ConditionTrue, v1.TaintNodePIDPressure},
}

// taintsFor are a node's taints with ours set by its conditions; those of others stay.
func taintsFor(have []v1.Taint, st v1.NodeStatus) []v1.Taint {
	var out []v1.Taint
	for _, t := range have {
		ours := slices.ContainsFunc(conditionTaints, func(c struct {
			condition v1.NodeConditionType
			bad       v1.ConditionStatus
			taint     string
		}) bool {
			return c.taint == t.Key && t.Effect == v1.TaintEffectNoSchedule
		})
		if !ours {
			out = append(out, t)
		}
	}
	for _, c := range conditionTaints {
		bad := slices.ContainsFunc(st.Conditions, func(n v1.NodeCondition) bool { return n.Type == c.condition && n.Status == c.bad })
		if bad {
			out = append(out, v1.Taint{Key: c.taint, Effect: v1.TaintEffectNoSchedule})
		}
	}
	return out
}

// taint writes the node's taints where they are not what its conditions call for; node is updated in place.
func (r *reporter) taint(ctx context.Context, node *v1.Node, st v1.NodeStatus) error {
	want := taintsFor(node.Spec.Taints, st)
	same := slices.EqualFunc(want, node.Spec.Taints, func(a, b v1.Taint) bool { return a.Key == b.Key && a.Effect == b.Effect && a.Value == b.Value })
	if same {
		return nil
	}
	node.Spec.Taints = want
	now, err := r.a.cfg.API.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("taint node %s: %w", node.Name, err)
	}
	*node = *now
	return nil
}
