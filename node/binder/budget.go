package binder

import (
	policyv1 "k8s.io/api/policy/v1"

	"github.com/orpheus-mesh/orpheus/placement"
)

// budget turns a PodDisruptionBudget into what placement knows of budgets. One whose status is older than its spec allows
// nothing, as for an eviction.
func budget(b *policyv1.PodDisruptionBudget) placement.Budget {
	out := placement.Budget{ID: key(b), Namespace: b.Namespace}
	out.Match, out.MatchNothing = selector(b.Spec.Selector)
	if b.Status.ObservedGeneration >= b.Generation {
		out.Allowed = max(int64(b.Status.DisruptionsAllowed), 0)
	}
	return out
}
