package controllers

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}},
	}
}

func (m *mesh) deploy(name string, replicas int32, strategy appsv1.DeploymentStrategyType) {
	m.t.Helper()
	_, err := m.api.AppsV1().Deployments("shop").Create(context.Background(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Template: template(name), Strategy: appsv1.DeploymentStrategy{Type: strategy},
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}},
	}, metav1.CreateOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) scale(name string, replicas int32) {
	m.t.Helper()
	ctx := context.Background()
	d, err := m.api.AppsV1().Deployments("shop").Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	d.Spec.Replicas = &replicas
	d.Generation++
	if _, err := m.api.AppsV1().Deployments("shop").Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		m.t.Fatal(err)
	}
}

// Three nodes, six Deployments: every object has exactly one owner, before and after the loss of a node.
func TestEveryDeploymentHasOneOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, "a", "b", "c")
		defer m.end()
		for _, n := range []string{"a", "b", "c"} {
			m.start(n, "deployment-controller", "replicaset-controller")
		}
		homes := map[string]int{}
		for i := range 6 {
			name := fmt.Sprintf("web%d", i)
			homes[m.home("shop", name)]++
			m.deploy(name, 2, appsv1.RollingUpdateDeploymentStrategyType)
		}
		if len(homes) < 2 || homes["c"] == 0 {
			t.Fatalf("the homes %v show nothing", homes)
		}
		settle()
		if m.created["pods"] != 12 || m.created["replicasets"] != 6 {
			t.Fatalf("created %v, want 12 pods and 6 ReplicaSets", m.created)
		}
		m.place("a", "b")
		m.lose("c")
		settle()
		if m.created["pods"] != 12 || len(m.pods()) != 12 {
			t.Fatalf("a home changed and %d pods were made, %d are there", m.created["pods"], len(m.pods()))
		}
		for i := range 6 {
			m.scale(fmt.Sprintf("web%d", i), 3)
		}
		settle()
		if m.created["pods"] != 18 || len(m.pods()) != 18 || len(m.deleted["pods"]) != 0 {
			t.Fatalf("created %d, there %d, deleted %v", m.created["pods"], len(m.pods()), m.deleted["pods"])
		}
	})
}

// The pods of a lost host are replaced, nothing is written about them, and when it is back the replacements go.
func TestLostPodsAreReplacedAndOriginalsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, "a", "b", "c")
		defer m.end()
		m.start("a", "deployment-controller", "replicaset-controller")
		m.tell(func() { delete(m.live, "b"); delete(m.live, "c") }) // a is home of all
		m.deploy("rolling", 2, appsv1.RollingUpdateDeploymentStrategyType)
		m.deploy("recreate", 2, appsv1.RecreateDeploymentStrategyType)
		settle()
		m.place("b", "c")
		original := map[string]string{}
		for _, p := range m.pods() {
			original[p.Name] = p.ResourceVersion
		}

		m.tell(func() { m.state["b"] = Suspect })
		settle()
		if m.created["pods"] != 4 {
			t.Fatal("suspicion moved pods")
		}
		m.tell(func() { m.state["b"] = Failed; m.held = "most peers vanished" })
		settle()
		if m.created["pods"] != 4 {
			t.Fatal("a held decision moved pods")
		}
		m.tell(func() { m.held, m.slow = "", true })
		settle()
		if m.created["pods"] != 4 {
			t.Fatal("a slow node moved pods")
		}
		m.tell(func() { m.slow = false })
		settle()
		if m.created["pods"] != 5 {
			t.Fatalf("%d pods made, want one replacement for the rolling Deployment and none for the other", m.created["pods"]-4)
		}
		m.tell(func() { m.held, m.slow = "most peers vanished", true }) // and later doubts take nothing back
		settle()
		if m.created["pods"] != 5 || len(m.deleted["pods"]) != 0 {
			t.Fatalf("%d made, deleted %v", m.created["pods"], m.deleted["pods"])
		}
		m.tell(func() { m.held, m.slow = "", false })
		m.place("c")
		for _, p := range m.pods() {
			if rv, was := original[p.Name]; was && rv != p.ResourceVersion {
				t.Errorf("%s was written to", p.Name)
			}
		}

		m.tell(func() { m.state["b"] = Alive })
		settle()
		if got := m.deleted["pods"]; len(got) != 1 || original[got[0]] != "" {
			t.Fatalf("deleted %v, want the replacement alone", got)
		}
		for name := range original {
			if _, err := m.api.CoreV1().Pods("shop").Get(context.Background(), name, metav1.GetOptions{}); err != nil {
				t.Error(err)
			}
		}
	})
}

// A person's deletion cost is not compared with derived ones.
func TestUserCostSwitchesDerivedCostOff(t *testing.T) {
	owner := []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "rs", UID: "u", Controller: new(true)}}
	l := newReplicaLens(Config{HostState: func(string) HostState { return Alive }, Hold: func() (bool, string) { return false, "" }, Slow: func() bool { return false }},
		podLens{nodes: noNodes{}}, nil, nil)
	plain := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", OwnerReferences: owner}}
	priced := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "q", OwnerReferences: owner, Annotations: map[string]string{corev1.PodDeletionCost: "-1"}}}
	if l.show(plain).GetAnnotations()[corev1.PodDeletionCost] == "" {
		t.Error("no cost was derived")
	}
	if l.show(priced); !l.stale() {
		t.Error("the first user cost does not make earlier answers stale")
	}
	if c := l.show(plain).GetAnnotations()[corev1.PodDeletionCost]; c != "" {
		t.Errorf("derived %s beside a user's", c)
	}
	if l.gone("/q"); !l.stale() || l.stale() {
		t.Error("the end of the last user cost does not make answers stale once")
	}
	if ageCost(100) <= ageCost(200) || ageCost(0) != 1577836800 || ageCost(-1<<60) != 1<<31-1 {
		t.Error("an older pod must cost more, within 32 bits")
	}
}
