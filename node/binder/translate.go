package binder

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"

	"github.com/orpheus-mesh/orpheus/placement"
)

// namespacesOf resolves a namespaceSelector to names; false when a name's labels are not known.
type namespacesOf func(*metav1.LabelSelector) []string

// asked counts what a pod holds as kube-scheduler does with its default features: a resize counts as soon as it is wished or while it is done.
var asked = resource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}

// translate turns a pod into what placement knows of pods.
func translate(p *corev1.Pod, resolve namespacesOf) placement.Pod {
	s := &p.Spec
	out := placement.Pod{
		UID: string(p.UID), Namespace: p.Namespace, Name: p.Name,
		Labels: labelsOf(p.Labels), Requests: amounts(resource.PodRequests(p, asked)),
		Selector: labelsOf(s.NodeSelector), Tolerations: tolerations(s.Tolerations), Ports: ports(s),
		Host: s.NodeName, Leaving: p.DeletionTimestamp != nil,
		NeverPreempts: s.PreemptionPolicy != nil && *s.PreemptionPolicy == corev1.PreemptNever,
	}
	if s.NodeName == "" {
		out.Nominated, out.Gated = p.Status.NominatedNodeName, len(s.SchedulingGates) > 0
	}
	out.Requests.Pods = 1
	if ref := metav1.GetControllerOf(p); ref != nil {
		out.Owner = string(ref.UID)
	}
	if s.Priority != nil {
		out.Priority = *s.Priority
	}
	if a := s.Affinity; a != nil {
		if a.NodeAffinity != nil {
			out.Required, out.Preferred = nodeAffinity(a.NodeAffinity)
		}
		if a.PodAffinity != nil {
			out.Affinity, out.PrefersNear = podTerms(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, resolve)
		}
		if a.PodAntiAffinity != nil {
			out.AntiAffinity, out.PrefersApart = podTerms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, resolve)
		}
	}
	for i := range s.TopologySpreadConstraints {
		out.Spread = append(out.Spread, spread(&s.TopologySpreadConstraints[i], p.Labels))
	}
	return out
}

// selectsNamespaces tells whether the pod has to be translated again when namespaces change.
func selectsNamespaces(p *corev1.Pod) bool {
	selects := func(t corev1.PodAffinityTerm) bool {
		s := t.NamespaceSelector
		return s != nil && (len(s.MatchLabels) > 0 || len(s.MatchExpressions) > 0)
	}
	weighted := func(t corev1.WeightedPodAffinityTerm) bool { return selects(t.PodAffinityTerm) }
	a := p.Spec.Affinity
	if a == nil {
		return false
	}
	if x := a.PodAffinity; x != nil && (slices.ContainsFunc(x.RequiredDuringSchedulingIgnoredDuringExecution, selects) ||
		slices.ContainsFunc(x.PreferredDuringSchedulingIgnoredDuringExecution, weighted)) {
		return true
	}
	x := a.PodAntiAffinity
	return x != nil && (slices.ContainsFunc(x.RequiredDuringSchedulingIgnoredDuringExecution, selects) ||
		slices.ContainsFunc(x.PreferredDuringSchedulingIgnoredDuringExecution, weighted))
}

func amounts(list corev1.ResourceList) placement.Resources {
	var r placement.Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.CPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Disk = q.Value()
		case corev1.ResourcePods:
			r.Pods = q.Value()
		default:
			if q.Value() > 0 {
				r.Extended = append(r.Extended, placement.Amount{Name: string(name), Value: q.Value()})
			}
		}
	}
	slices.SortFunc(r.Extended, func(a, b placement.Amount) int { return strings.Compare(a.Name, b.Name) })
	return r
}

func labelsOf(m map[string]string) []placement.Label {
	if len(m) == 0 {
		return nil
	}
	out := make([]placement.Label, 0, len(m))
	for k, v := range m {
		out = append(out, placement.Label{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b placement.Label) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func tolerations(in []corev1.Toleration) []placement.Toleration {
	var out []placement.Toleration
	for _, t := range in {
		switch t.Operator {
		case corev1.TolerationOpExists, corev1.TolerationOpEqual, "":
		default:
			continue // numeric comparison is off by default: a toleration that is not understood tolerates nothing
		}
		effect, known := effectOf(t.Effect)
		if !known && t.Effect != "" {
			continue
		}
		out = append(out, placement.Toleration{Key: t.Key, Value: t.Value, Exists: t.Operator == corev1.TolerationOpExists, AnyEffect: t.Effect == "", Effect: effect})
	}
	return out
}

func effectOf(e corev1.TaintEffect) (placement.Effect, bool) {
	switch e {
	case corev1.TaintEffectNoSchedule:
		return placement.NoSchedule, true
	case corev1.TaintEffectPreferNoSchedule:
		return placement.PreferNoSchedule, true
	case corev1.TaintEffectNoExecute:
		return placement.NoExecute, true
	}
	return 0, false
}

// ports are those of app containers and of sidecars: an ordinary init container has no ports to keep.
func ports(s *corev1.PodSpec) []placement.HostPort {
	var out []placement.HostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				out = append(out, placement.HostPort{IP: p.HostIP, Protocol: cmp.Or(string(p.Protocol), "TCP"), Port: p.HostPort})
			}
		}
	}
	for i := range s.InitContainers {
		if c := &s.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range s.Containers {
		add(&s.Containers[i])
	}
	return out
}
