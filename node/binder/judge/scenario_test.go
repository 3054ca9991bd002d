package judge

import (
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// scenario is a small cluster with pods that run, and some to be judged one by one.
type scenario struct {
	nodes  []*corev1.Node
	spaces []*corev1.Namespace
	run    []*corev1.Pod
	wait   []*corev1.Pod
}

// claims are the pods that upstream counts: those that run on a node that is there and have not ended.
func (s *scenario) claims() (out []*corev1.Pod) {
	for _, p := range s.run {
		if p.Spec.NodeName != "gone" && p.Status.Phase != corev1.PodSucceeded {
			out = append(out, p)
		}
	}
	return out
}

// maker draws. Values come from small sets, so that they meet.
type maker struct{ *rand.Rand }

func draw[T any](m maker, from ...T) T              { return from[m.IntN(len(from))] }
func (m maker) chance(percent int) bool             { return m.IntN(100) < percent }
func quantity(n int, unit string) resource.Quantity { return resource.MustParse(fmt.Sprint(n) + unit) }

func newScenario(seed uint64) *scenario {
	m := maker{rand.New(rand.NewPCG(seed, 0))}
	s := &scenario{}
	for _, n := range []string{"shop", "bank", "farm"} {
		l := map[string]string{"kubernetes.io/metadata.name": n}
		if m.chance(60) {
			l["team"] = draw(m, "red", "blue")
		}
		s.spaces = append(s.spaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n, Labels: l}})
	}
	for i := range 1 + m.IntN(10) {
		s.nodes = append(s.nodes, m.node(fmt.Sprintf("n%d", i)))
	}
	for i := range m.IntN(40) {
		p := m.pod(fmt.Sprintf("r%d", i), draw(m, 2, 10))
		p.Spec.NodeName = s.nodes[m.IntN(len(s.nodes))].Name
		switch {
		case m.chance(3):
			p.Spec.NodeName = "gone"
		case m.chance(5):
			p.Status.Phase = corev1.PodSucceeded
		case m.chance(8):
			p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}
		s.run = append(s.run, p)
	}
	for i := range 6 {
		s.wait = append(s.wait, m.pod(fmt.Sprintf("w%d", i), draw(m, 8, 15, 30)))
	}
	return s
}

func (m maker) node(name string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelArchStable: draw(m, "amd64", "arm64"), corev1.LabelOSStable: "linux", "gen": draw(m, "1", "2", "3", "x")}}}
	if m.chance(85) {
		n.Labels[corev1.LabelTopologyZone] = draw(m, "z1", "z2", "z3")
	}
	n.Status.Allocatable = corev1.ResourceList{"cpu": quantity(3+m.IntN(12), ""), "memory": quantity(6+m.IntN(12), "Gi"), "ephemeral-storage": quantity(10, "Gi"),
		"pods": quantity(3+m.IntN(12), "")}
	if m.chance(40) {
		n.Status.Allocatable["nvidia.com/gpu"] = quantity(m.IntN(3), "")
	}
	for _, key := range []string{"dedicated", "spot"} {
		if m.chance(12) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: draw(m, "", "db"),
				Effect: draw(m, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule)})
		}
	}
	if n.Spec.Unschedulable = m.chance(10); n.Spec.Unschedulable {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return n
}

// pod draws one in which each kind of demand appears with the given chance.
func (m maker) pod(name string, percent int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: draw(m, "shop", "bank", "farm"), Name: name, UID: types.UID(name),
		Labels: map[string]string{"app": draw(m, "web", "db"), "rev": draw(m, "1", "2")}}}
	some := func(do func()) {
		if m.chance(percent) {
			do()
		}
	}
	s := &p.Spec
	for i := range 1 + m.IntN(2) {
		s.Containers = append(s.Containers, m.container(fmt.Sprintf("c%d", i)))
	}
	some(func() { s.InitContainers = append(s.InitContainers, m.container("init")) })
	some(func() {
		c := m.container("sidecar")
		c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		s.InitContainers = append(s.InitContainers, c)
	})
	some(func() { s.InitContainers = append(s.InitContainers, m.container("late")) })
	some(func() {
		s.Overhead = corev1.ResourceList{"cpu": quantity(100+m.IntN(900), "m"), "memory": quantity(m.IntN(900), "Mi")}
	})
	some(func() {
		s.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity(4+m.IntN(3), ""), "memory": quantity(4, "Gi")}}
	})
	some(func() { s.Containers[0].Ports = []corev1.ContainerPort{m.hostPort(), m.hostPort()} })
	some(func() { s.NodeSelector = map[string]string{corev1.LabelArchStable: draw(m, "amd64", "arm64")} })
	some(func() { s.Tolerations = append(s.Tolerations, m.toleration()) })
	some(func() { s.Tolerations = append(s.Tolerations, m.toleration()) })
	some(func() { m.affinity(s).NodeAffinity = m.nodeAffinity() })
	some(func() {
		m.affinity(s).PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: m.podTerms()}
	})
	some(func() {
		m.affinity(s).PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: m.podTerms()}
	})
	some(func() { s.TopologySpreadConstraints = m.spread() })
	if len(s.TopologySpreadConstraints) == 0 {
		some(func() { s.TopologySpreadConstraints = m.spread() })
	}
	return p
}

func (m maker) affinity(s *corev1.PodSpec) *corev1.Affinity {
	if s.Affinity == nil {
		s.Affinity = &corev1.Affinity{}
	}
	return s.Affinity
}

func (m maker) container(name string) corev1.Container {
	r := corev1.ResourceList{}
	if m.chance(80) {
		r["cpu"] = quantity(m.IntN(2000), "m")
	}
	if m.chance(80) {
		r["memory"] = quantity(m.IntN(3000), "Mi")
	}
	if m.chance(15) {
		r["ephemeral-storage"] = quantity(m.IntN(7), "Gi")
	}
	if m.chance(8) {
		r["nvidia.com/gpu"] = quantity(m.IntN(3), "")
	}
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: r}}
}

func (m maker) hostPort() corev1.ContainerPort {
	return corev1.ContainerPort{ContainerPort: 80, HostPort: draw[int32](m, 0, 80, 443), HostIP: draw(m, "", "", "0.0.0.0", "127.0.0.1", "10.0.0.1"),
		Protocol: draw(m, corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP)}
}

func (m maker) toleration() corev1.Toleration {
	t := corev1.Toleration{Key: draw(m, "dedicated", "spot", corev1.TaintNodeUnschedulable), Operator: draw(m, corev1.TolerationOpExists, corev1.TolerationOpEqual, ""),
		Effect: draw(m, "", corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute)}
	switch {
	case t.Operator != corev1.TolerationOpExists:
		t.Value = draw(m, "", "db")
	case m.chance(15):
		t.Key = ""
	}
	if t.Effect == corev1.TaintEffectNoExecute && m.chance(50) {
		t.TolerationSeconds = new(int64(60))
	}
	return t
}

func (m maker) nodeAffinity() *corev1.NodeAffinity {
	var terms []corev1.NodeSelectorTerm
	for range 1 + m.IntN(2) {
		var t corev1.NodeSelectorTerm
		for range m.IntN(3) {
			t.MatchExpressions = append(t.MatchExpressions, draw(m,
				corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"z1", "z2"}},
				corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpNotIn, Values: []string{"z1"}},
				corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpExists},
				corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpDoesNotExist},
				corev1.NodeSelectorRequirement{Key: "gen", Operator: corev1.NodeSelectorOpGt, Values: []string{"1"}},
				corev1.NodeSelectorRequirement{Key: "gen", Operator: corev1.NodeSelectorOpLt, Values: []string{"3"}}))
		}
		if m.chance(25) {
			t.MatchFields = []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: draw(m, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn), Values: []string{"n1"}}}
		}
		terms = append(terms, t)
	}
	return &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms}}
}

func (m maker) selector() *metav1.LabelSelector {
	return draw(m, nil, &metav1.LabelSelector{},
		&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		&metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
		&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web", "rev": "1"}},
		&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"db"}}, {Key: "rev", Operator: metav1.LabelSelectorOpExists}}})
}

func (m maker) podTerms() (out []corev1.PodAffinityTerm) {
	for range 1 + m.IntN(2) {
		t := corev1.PodAffinityTerm{TopologyKey: draw(m, corev1.LabelHostname, corev1.LabelTopologyZone), LabelSelector: m.selector()}
		if m.chance(30) {
			t.Namespaces = []string{draw(m, "shop", "bank"), "farm"}
		}
		if m.chance(40) {
			t.NamespaceSelector = draw(m, &metav1.LabelSelector{}, &metav1.LabelSelector{MatchLabels: map[string]string{"team": "red"}},
				&metav1.LabelSelector{MatchLabels: map[string]string{"team": "green"}})
		}
		out = append(out, t)
	}
	return out
}

// spread draws constraints of different keys, as validation demands.
func (m maker) spread() (out []corev1.TopologySpreadConstraint) {
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelHostname} {
		if m.chance(40) {
			continue
		}
		c := corev1.TopologySpreadConstraint{TopologyKey: key, MaxSkew: int32(1 + m.IntN(3)), WhenUnsatisfiable: draw(m, corev1.DoNotSchedule, corev1.DoNotSchedule, corev1.ScheduleAnyway), LabelSelector: m.selector()}
		if c.WhenUnsatisfiable == corev1.DoNotSchedule && m.chance(30) {
			c.MinDomains = new(int32(1 + m.IntN(4)))
		}
		if m.chance(40) {
			c.NodeAffinityPolicy = draw(m, new(corev1.NodeInclusionPolicyIgnore), new(corev1.NodeInclusionPolicyHonor))
		}
		if m.chance(40) {
			c.NodeTaintsPolicy = draw(m, new(corev1.NodeInclusionPolicyIgnore), new(corev1.NodeInclusionPolicyHonor))
		}
		if c.LabelSelector != nil && m.chance(30) {
			c.MatchLabelKeys = []string{"rev"}
		}
		out = append(out, c)
	}
	return out
}
