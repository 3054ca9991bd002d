package binder

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/placement"
)

// nodeAffinity keeps apart what placement keeps apart: no demand is nil; an empty term is one that no host meets, and so is
// a demand without terms.
func nodeAffinity(a *corev1.NodeAffinity) (required []placement.Term, preferred []placement.WeightedTerm) {
	if r := a.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
		for i := range r.NodeSelectorTerms {
			required = append(required, nodeTerm(&r.NodeSelectorTerms[i]))
		}
		if len(required) == 0 {
			required = []placement.Term{{}}
		}
	}
	for i := range a.PreferredDuringSchedulingIgnoredDuringExecution {
		p := &a.PreferredDuringSchedulingIgnoredDuringExecution[i]
		if t := nodeTerm(&p.Preference); len(t.Labels)+len(t.Fields) > 0 && p.Weight > 0 {
			preferred = append(preferred, placement.WeightedTerm{Term: t, Weight: int64(p.Weight)})
		}
	}
	return required, preferred
}

func nodeTerm(t *corev1.NodeSelectorTerm) placement.Term {
	return placement.Term{Labels: nodeRequirements(t.MatchExpressions), Fields: nodeRequirements(t.MatchFields)}
}

func nodeRequirements(in []corev1.NodeSelectorRequirement) []placement.Requirement {
	var out []placement.Requirement
	for _, r := range in {
		out = append(out, requirement(r.Key, string(r.Operator), r.Values))
	}
	return out
}

// requirement of an operator that is not known can be met by nothing: In without values.
func requirement(key, op string, values []string) placement.Requirement {
	r := placement.Requirement{Key: key, Values: values}
	switch op {
	case "In":
		r.Op = placement.In
	case "NotIn":
		r.Op = placement.NotIn
	case "Exists":
		r.Op = placement.Exists
	case "DoesNotExist":
		r.Op = placement.DoesNotExist
	case "Gt":
		r.Op = placement.Gt
	case "Lt":
		r.Op = placement.Lt
	default:
		r.Op, r.Values = placement.In, nil
	}
	return r
}

func podTerms(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, resolve namespacesOf) (hard, soft []placement.PodTerm) {
	for i := range required {
		hard = append(hard, podTerm(&required[i], 0, resolve))
	}
	for i := range preferred {
		if w := preferred[i].Weight; w > 0 {
			soft = append(soft, podTerm(&preferred[i].PodAffinityTerm, int64(w), resolve))
		}
	}
	return hard, soft
}

// podTerm leaves matchLabelKeys aside: the registry has merged them into the selector when the pod was created.
func podTerm(t *corev1.PodAffinityTerm, weight int64, resolve namespacesOf) placement.PodTerm {
	out := placement.PodTerm{Topology: t.TopologyKey, Weight: weight}
	out.Match, out.MatchNothing = selector(t.LabelSelector)
	out.Namespaces = slices.Clone(t.Namespaces)
	if s := t.NamespaceSelector; s != nil {
		if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
			out.AllNamespaces, out.Namespaces = true, nil
			return out
		}
		out.Namespaces = append(out.Namespaces, resolve(s)...)
		if len(out.Namespaces) == 0 {
			out.MatchNothing = true // none would mean the pod's own
		}
	}
	slices.Sort(out.Namespaces)
	out.Namespaces = slices.Compact(out.Namespaces)
	return out
}

// selector of nil matches nothing, an empty one everything.
func selector(s *metav1.LabelSelector) (match []placement.Requirement, nothing bool) {
	if s == nil {
		return nil, true
	}
	for _, l := range labelsOf(s.MatchLabels) {
		match = append(match, placement.Requirement{Key: l.Key, Op: placement.In, Values: []string{l.Value}})
	}
	for _, e := range s.MatchExpressions {
		match = append(match, requirement(e.Key, string(e.Operator), e.Values))
	}
	return match, false
}

func spread(c *corev1.TopologySpreadConstraint, own map[string]string) placement.Spread {
	out := placement.Spread{Topology: c.TopologyKey, MaxSkew: int64(c.MaxSkew), Hard: c.WhenUnsatisfiable == corev1.DoNotSchedule}
	out.Match, out.MatchNothing = selector(c.LabelSelector)
	if c.MinDomains != nil {
		out.MinDomains = int64(*c.MinDomains)
	}
	out.IgnoreAffinity = c.NodeAffinityPolicy != nil && *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyIgnore
	out.HonorTaints = c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
	for _, k := range c.MatchLabelKeys { // merged by the registry only since 1.34; twice is no harm
		if v, has := own[k]; has {
			out.Match = append(out.Match, placement.Requirement{Key: k, Op: placement.In, Values: []string{v}})
		}
	}
	if len(out.Match) == 0 {
		out.MatchNothing = true // kube-scheduler counts no pod by an empty selector here, unlike everywhere else
	}
	return out
}

// host turns a Node into what placement knows of hosts. Its name is its ID: a claim is a pod's spec.nodeName.
func host(n *corev1.Node) placement.Host {
	h := placement.Host{
		ID: n.Name, Name: n.Name, Labels: labelsOf(n.Labels), Cordoned: n.Spec.Unschedulable,
		Allocatable: amounts(n.Status.Allocatable), NotReady: notReady(n),
	}
	for _, t := range n.Spec.Taints {
		if effect, known := effectOf(t.Effect); known {
			h.Taints = append(h.Taints, placement.Taint{Key: t.Key, Value: t.Value, Effect: effect})
		}
	}
	slices.SortFunc(h.Taints, func(a, b placement.Taint) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value), cmp.Compare(a.Effect, b.Effect))
	})
	return h
}

// fencedAnnotation on a Node: a person stated that nothing runs there any more.
const fencedAnnotation = "orpheus.dev/fenced"

// notReady says why the node takes no new pods, as kube-scheduler words the taint that a node controller would set.
func notReady(n *corev1.Node) string {
	if _, is := n.Annotations[fencedAnnotation]; is {
		return "node(s) had untolerated taint {" + fencedAnnotation + ": }"
	}
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		switch c.Status {
		case corev1.ConditionTrue:
			return ""
		case corev1.ConditionUnknown:
			return "node(s) had untolerated taint {" + corev1.TaintNodeUnreachable + ": }"
		}
		break
	}
	return "node(s) had untolerated taint {" + corev1.TaintNodeNotReady + ": }"
}
