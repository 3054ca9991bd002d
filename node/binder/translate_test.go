package binder

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/placement"
)

func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}}
}

// resized is a container that was given so much CPU before.
func resized(name, cpu string) corev1.ContainerStatus {
	r := requests(cpu, "1Mi")
	return corev1.ContainerStatus{Name: name, Resources: &r, AllocatedResources: r.Requests}
}

func TestTranslateEveryField(t *testing.T) {
	always, one := corev1.ContainerRestartPolicyAlways, int32(1)
	web := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	isWeb := []placement.Requirement{{Key: "app", Op: placement.In, Values: []string{"web"}}}
	base := func(p placement.Pod) placement.Pod {
		p.UID, p.Namespace, p.Name, p.Requests.Pods = "u", "shop", "p", 1
		return p
	}
	for name, c := range map[string]struct {
		meta   metav1.ObjectMeta
		spec   corev1.PodSpec
		status corev1.PodStatus
		want   placement.Pod
	}{
		"nothing": {},
		"requests: the greater of the largest init container and the sum, with sidecars and overhead": {
			spec: corev1.PodSpec{
				Overhead:       corev1.ResourceList{"cpu": resource.MustParse("10m")},
				InitContainers: []corev1.Container{{Resources: requests("2", "1Mi")}, {RestartPolicy: &always, Resources: requests("100m", "10Mi")}},
				Containers:     []corev1.Container{{Resources: requests("500m", "20Mi")}, {Resources: requests("500m", "30Mi")}},
			},
			want: placement.Pod{Requests: placement.Resources{CPU: 2010, Memory: 60 << 20}},
		},
		"extended resources and ephemeral storage": {
			spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				"nvidia.com/gpu": resource.MustParse("2"), "amd.com/gpu": resource.MustParse("1"), "ephemeral-storage": resource.MustParse("1Ki")}}}}},
			want: placement.Pod{Requests: placement.Resources{Disk: 1024, Extended: []placement.Amount{{Name: "amd.com/gpu", Value: 1}, {Name: "nvidia.com/gpu", Value: 2}}}},
		},
		"owner, labels, priority, selector": {
			meta: metav1.ObjectMeta{Labels: map[string]string{"b": "2", "a": "1"}, OwnerReferences: []metav1.OwnerReference{{UID: "x"}, {UID: "rs", Controller: new(true)}}},
			spec: corev1.PodSpec{Priority: &one, NodeSelector: map[string]string{"disk": "ssd"}},
			want: placement.Pod{Owner: "rs", Priority: 1, Labels: []placement.Label{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}, Selector: []placement.Label{{Key: "disk", Value: "ssd"}}},
		},
		"a daemon's node": {
			spec: corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"n1"}}}}, {}}}}}},
			want: placement.Pod{Required: []placement.Term{{Fields: []placement.Requirement{{Key: "metadata.name", Op: placement.In, Values: []string{"n1"}}}}, {}}},
		},
		"a node affinity that nothing meets is a demand": {
			spec: corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}}}}},
			want: placement.Pod{Required: []placement.Term{{}}},
		},
		"node preferences": {
			spec: corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
				{Weight: 7, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "cores", Operator: "Gt", Values: []string{"4"}}}}}}}}},
			want: placement.Pod{Preferred: []placement.WeightedTerm{{Weight: 7, Term: placement.Term{Labels: []placement.Requirement{{Key: "cores", Op: placement.Gt, Values: []string{"4"}}}}}}},
		},
		"pod affinity: own namespace, named, all, selected, selected by nobody": {
			spec: corev1.PodSpec{Affinity: &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				{TopologyKey: "zone", LabelSelector: web},
				{TopologyKey: "zone", LabelSelector: web, Namespaces: []string{"z", "a"}},
				{TopologyKey: "zone", LabelSelector: web, NamespaceSelector: &metav1.LabelSelector{}},
				{TopologyKey: "zone", LabelSelector: web, Namespaces: []string{"z"}, NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "red"}}},
				{TopologyKey: "zone", LabelSelector: web, NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "none"}}},
			}}}},
			want: placement.Pod{Affinity: []placement.PodTerm{
				{Topology: "zone", Match: isWeb},
				{Topology: "zone", Match: isWeb, Namespaces: []string{"a", "z"}},
				{Topology: "zone", Match: isWeb, AllNamespaces: true},
				{Topology: "zone", Match: isWeb, Namespaces: []string{"red-1", "red-2", "z"}},
				{Topology: "zone", Match: isWeb, MatchNothing: true},
			}},
		},
		"anti-affinity, hard and soft; a nil selector matches nothing": {
			spec: corev1.PodSpec{Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution:  []corev1.PodAffinityTerm{{TopologyKey: "host"}},
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 3, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: "host", LabelSelector: web}}}}}},
			want: placement.Pod{AntiAffinity: []placement.PodTerm{{Topology: "host", MatchNothing: true}}, PrefersApart: []placement.PodTerm{{Topology: "host", Match: isWeb, Weight: 3}}},
		},
		"spread": {
			meta: metav1.ObjectMeta{Labels: map[string]string{"rev": "5"}},
			spec: corev1.PodSpec{TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{TopologyKey: "zone", MaxSkew: 2, WhenUnsatisfiable: corev1.DoNotSchedule,
				MinDomains: &one, LabelSelector: web, MatchLabelKeys: []string{"rev", "absent"}, NodeAffinityPolicy: new(corev1.NodeInclusionPolicyIgnore), NodeTaintsPolicy: new(corev1.NodeInclusionPolicyHonor)}}},
			want: placement.Pod{Labels: []placement.Label{{Key: "rev", Value: "5"}}, Spread: []placement.Spread{{Topology: "zone", MaxSkew: 2, Hard: true, MinDomains: 1, IgnoreAffinity: true, HonorTaints: true,
				Match: append(isWeb[:1:1], placement.Requirement{Key: "rev", Op: placement.In, Values: []string{"5"}})}}},
		},
		"a spread of everything counts nothing, as upstream": {
			spec: corev1.PodSpec{TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{TopologyKey: "zone", MaxSkew: 1, LabelSelector: &metav1.LabelSelector{}}}},
			want: placement.Pod{Spread: []placement.Spread{{Topology: "zone", MaxSkew: 1, MatchNothing: true}}},
		},
		"tolerations: one that is not understood tolerates nothing": {
			spec: corev1.PodSpec{Tolerations: []corev1.Toleration{{Operator: "Exists"}, {Key: "k", Value: "v", Effect: "NoExecute"}, {Key: "n", Operator: "Lt", Value: "3"}, {Key: "e", Effect: "Someday"}}},
			want: placement.Pod{Tolerations: []placement.Toleration{{Exists: true, AnyEffect: true}, {Key: "k", Value: "v", Effect: placement.NoExecute}}},
		},
		"ports: those of app containers and sidecars": {
			spec: corev1.PodSpec{
				InitContainers: []corev1.Container{{Ports: []corev1.ContainerPort{{HostPort: 1}}}, {RestartPolicy: &always, Ports: []corev1.ContainerPort{{HostPort: 2, Protocol: "UDP"}}}},
				Containers:     []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80}, {HostPort: 3, HostIP: "127.0.0.1"}}}}},
			want: placement.Pod{Ports: []placement.HostPort{{Protocol: "UDP", Port: 2}, {IP: "127.0.0.1", Protocol: "TCP", Port: 3}}},
		},
		"pod-level resources stand above those of containers": {
			spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("3")}},
				Containers: []corev1.Container{{Resources: requests("1", "1Mi")}}},
			want: placement.Pod{Requests: placement.Resources{CPU: 3000, Memory: 1 << 20}},
		},
		"a resize counts from the wish on, and until what is given back is free": {
			spec:   corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "up", Resources: requests("2", "1Mi")}, {Name: "down", Resources: requests("1", "1Mi")}}},
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{resized("up", "1"), resized("down", "4")}},
			want:   placement.Pod{Host: "n1", Requests: placement.Resources{CPU: 6000, Memory: 2 << 20}},
		},
		"priority, and that it preempts nobody": {
			spec: corev1.PodSpec{Priority: &one, PreemptionPolicy: new(corev1.PreemptNever)},
			want: placement.Pod{Priority: 1, NeverPreempts: true},
		},
		"a host that victims are leaving": {
			status: corev1.PodStatus{NominatedNodeName: "n1"},
			want:   placement.Pod{Nominated: "n1"},
		},
		"a promise that was kept is none any more": {
			spec:   corev1.PodSpec{NodeName: "n2", PreemptionPolicy: new(corev1.PreemptLowerPriority)},
			status: corev1.PodStatus{NominatedNodeName: "n1"},
			want:   placement.Pod{Host: "n2"},
		},
		"scheduling gates": {
			spec: corev1.PodSpec{SchedulingGates: []corev1.PodSchedulingGate{{Name: "g"}}},
			want: placement.Pod{Gated: true},
		},
		"a claim that is leaving": {
			meta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}},
			spec: corev1.PodSpec{NodeName: "n1"},
			want: placement.Pod{Host: "n1", Leaving: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: c.meta, Spec: c.spec, Status: c.status}
			p.UID, p.Namespace, p.Name = "u", "shop", "p"
			pic := newPicture(func() {})
			pic.setSpace("red-1", map[string]string{"team": "red"})
			pic.setSpace("red-2", map[string]string{"team": "red"})
			pic.setSpace("blue", map[string]string{"team": "blue"})
			if got, want := translate(p, pic.namespaces), base(c.want); !reflect.DeepEqual(got, want) {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestHost(t *testing.T) {
	ready := func(s corev1.ConditionStatus) corev1.NodeStatus {
		return corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: s}}}
	}
	for name, c := range map[string]struct {
		status corev1.NodeStatus
		notes  map[string]string
		want   string
	}{
		"ready":        {status: ready("True")},
		"out of sight": {status: ready("Unknown"), want: "node(s) had untolerated taint {node.kubernetes.io/unreachable: }"},
		"not ready":    {status: ready("False"), want: "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"},
		"just made":    {want: "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"},
		"fenced":       {status: ready("True"), notes: map[string]string{fencedAnnotation: ""}, want: "node(s) had untolerated taint {orpheus.dev/fenced: }"},
	} {
		if got := host(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Annotations: c.notes}, Status: c.status}); got.NotReady != c.want || got.ID != "n" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestHostsWordsAboutItself(t *testing.T) {
	n := node("n", "4", func(n *corev1.Node) {
		n.Labels = map[string]string{corev1.LabelOSStable: "linux", corev1.LabelArchStable: "arm64"}
		n.Spec.Unschedulable = true
		n.Spec.Taints = []corev1.Taint{{Key: "z", Effect: corev1.TaintEffectPreferNoSchedule}, {Key: "a", Value: "v", Effect: corev1.TaintEffectNoExecute}, {Key: "x", Effect: "Someday"}}
		n.Status.Capacity = corev1.ResourceList{"cpu": resource.MustParse("9")}
		n.Status.Allocatable["ephemeral-storage"] = resource.MustParse("1Ki")
		n.Status.Allocatable["nvidia.com/gpu"] = resource.MustParse("2")
	})
	want := placement.Host{
		ID: "n", Name: "n", Cordoned: true,
		Labels: []placement.Label{{Key: corev1.LabelArchStable, Value: "arm64"}, {Key: corev1.LabelOSStable, Value: "linux"}},
		Taints: []placement.Taint{{Key: "a", Value: "v", Effect: placement.NoExecute}, {Key: "z", Effect: placement.PreferNoSchedule}},
		Allocatable: placement.Resources{CPU: 4000, Memory: 8 << 30, Disk: 1024, Pods: 110,
			Extended: []placement.Amount{{Name: "nvidia.com/gpu", Value: 2}}},
	}
	if got := host(n); !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestBudget(t *testing.T) {
	web := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	isWeb := []placement.Requirement{{Key: "app", Op: placement.In, Values: []string{"web"}}}
	for name, c := range map[string]struct {
		selector *metav1.LabelSelector
		status   policyv1.PodDisruptionBudgetStatus
		want     placement.Budget
	}{
		"allows two":                           {web, policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 2, ObservedGeneration: 3}, placement.Budget{Match: isWeb, Allowed: 2}},
		"overdrawn":                            {web, policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: -1, ObservedGeneration: 3}, placement.Budget{Match: isWeb}},
		"a status from before its last change": {web, policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 2, ObservedGeneration: 2}, placement.Budget{Match: isWeb}},
		"for all pods of its namespace":        {&metav1.LabelSelector{}, policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, ObservedGeneration: 3}, placement.Budget{Allowed: 1}},
		"for none":                             {nil, policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, ObservedGeneration: 3}, placement.Budget{MatchNothing: true, Allowed: 1}},
	} {
		b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b", Generation: 3},
			Spec: policyv1.PodDisruptionBudgetSpec{Selector: c.selector}, Status: c.status}
		c.want.ID, c.want.Namespace = "shop/b", "shop"
		if got := budget(b); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

// What a question adds to the picture or takes from it is in the view, and nowhere else.
func TestViewAnswersOneQuestion(t *testing.T) {
	pic := newPicture(func() {})
	pic.setNode(node("a", "4"))
	on := func(host string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = host } }
	pic.setPod(pod("runs", "1", on("a")))
	pic.setPod(pod("over", "1", on("a"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }))
	pic.setPod(pod("stray", "1", on("gone")))
	pic.setPod(pod("waits", "1"))
	pic.setPod(pod("promised", "1", func(p *corev1.Pod) { p.Status.NominatedNodeName = "a" }))
	pic.setBudget(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"}})
	uids := func(q question) (out []string) {
		v := pic.view(q)
		if len(v.Hosts) != 1 || len(v.Budgets) != 1 {
			t.Errorf("%d hosts, %d budgets", len(v.Hosts), len(v.Budgets))
		}
		for _, p := range v.Pods {
			out = append(out, p.UID+" "+p.Host)
		}
		return out
	}
	for name, c := range map[string]struct {
		q    question
		want []string
	}{
		"claims and promises":              {question{}, []string{"uid-promised ", "uid-runs a"}},
		"a batch of one known and one new": {question{batch: []*corev1.Pod{pod("waits", "1"), pod("new", "1")}}, []string{"uid-new ", "uid-promised ", "uid-runs a", "uid-waits "}},
		"without what goes":                {question{gone: map[types.UID]bool{"uid-runs": true}}, []string{"uid-promised "}},
		"a flight is a claim":              {question{flights: map[types.UID]string{"uid-waits": "a", "uid-promised": "a"}}, []string{"uid-promised a", "uid-runs a", "uid-waits a"}},
	} {
		if got := uids(c.q); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A pod that selects namespaces is translated again when they change; one that waits elsewhere takes nothing.
func TestPictureFollowsNamespaces(t *testing.T) {
	pic := newPicture(func() {})
	p := pod("p", "1", func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: "host", LabelSelector: &metav1.LabelSelector{}, NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "red"}}}}}}
		p.Spec.NodeName = "a"
	})
	pic.setPod(p)
	pic.setNode(node("a", "4"))
	pic.setPod(pod("foreign", "1"))
	before := pic.epoch
	pic.setSpace("red", map[string]string{"team": "red"})
	v := pic.view(question{})
	if len(v.Pods) != 1 || !reflect.DeepEqual(v.Pods[0].AntiAffinity[0].Namespaces, []string{"red"}) || pic.epoch == before {
		t.Errorf("%+v", v.Pods)
	}
}
