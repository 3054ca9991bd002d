package controllers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
)

type noNodes struct{ corelisters.NodeLister }

func (noNodes) Get(string) (*corev1.Node, error)             { return &corev1.Node{}, nil }
func (noNodes) List(labels.Selector) ([]*corev1.Node, error) { return nil, nil }

func tracked(pods []corev1.Pod) (n int) {
	for _, p := range pods {
		for _, f := range p.Finalizers {
			if f == batchv1.JobTrackingFinalizer {
				n++
			}
		}
	}
	return n
}

// A Job is counted at its home; at the others it is nobody's, its pods keep their finalizers, and a new home goes on
// counting where the old one stopped.
func TestForeignJobKeepsItsPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, "a", "b", "c")
		defer m.end()
		for _, n := range []string{"a", "b", "c"} {
			m.start(n, jobController)
		}
		two, no := int32(2), false
		_, err := m.api.BatchV1().Jobs("shop").Create(context.Background(), &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "sum"},
			Spec: batchv1.JobSpec{Completions: &two, Parallelism: &two, BackoffLimit: &two, Suspend: &no, Template: template("sum"),
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "sum"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if m.created["pods"] != 2 || tracked(m.pods()) != 2 {
			t.Fatalf("made %d pods, %d tracked, want 2 of each", m.created["pods"], tracked(m.pods()))
		}
		m.place("a")
		first := m.home("shop", "sum")
		m.lose(first)
		settle()
		if m.created["pods"] != 2 || tracked(m.pods()) != 2 {
			t.Fatalf("after the loss of its home: %d pods made, %d tracked", m.created["pods"], tracked(m.pods()))
		}
		for _, p := range m.pods() {
			p.Status.Phase = corev1.PodSucceeded
			if _, err := m.api.CoreV1().Pods("shop").UpdateStatus(context.Background(), &p, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		settle()
		j, err := m.api.BatchV1().Jobs("shop").Get(context.Background(), "sum", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if j.Status.Succeeded != 2 || j.Status.CompletionTime == nil || tracked(m.pods()) != 0 || j.Spec.ManagedBy != nil {
			t.Fatalf("the new home did not finish the job: %+v, %d tracked", j.Status, tracked(m.pods()))
		}
	})
}

// Absence never fails the pods of a StatefulSet; a fence does, and then the name is free again.
func TestOnlyAFenceReplacesStatefulPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		m := newMesh(t, "a", "b")
		defer m.end()
		m.tell(func() { delete(m.live, "b") })
		m.start("a", "statefulset-controller", podCollector)
		one := int32(1)
		_, err := m.api.AppsV1().StatefulSets("shop").Create(ctx, &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
			Spec: appsv1.StatefulSetSpec{Replicas: &one, Template: template("db"), ServiceName: "db",
				PodManagementPolicy: appsv1.OrderedReadyPodManagement, RevisionHistoryLimit: &one,
				UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32)}},
				Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		m.place("b")
		m.tell(func() { m.state["b"] = Failed })
		settle()
		if m.created["pods"] != 1 || len(m.deleted["pods"]) != 0 {
			t.Fatalf("absence touched a stateful pod: made %d, deleted %v", m.created["pods"], m.deleted["pods"])
		}
		n, err := m.api.CoreV1().Nodes().Get(ctx, "b", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n.Annotations = map[string]string{FencedAnnotation: "2026-01-01T00:00:00Z"}
		if _, err := m.api.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		settle()
		pods := m.pods()
		if m.created["pods"] != 2 || len(pods) != 1 || pods[0].Name != "db-0" || pods[0].Spec.NodeName != "" {
			t.Fatalf("after the fence: made %d, there %v", m.created["pods"], pods)
		}
	})
}

// Pods go with a host that a person gave up, and with no other, however long it is away.
func TestPodsGoWithAHostThatWasGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(m *mesh)
		goes    bool
	}{
		"lost":                                  {func(m *mesh) { m.tell(func() { m.state["b"] = Failed }) }, false},
		"evicted":                               {func(m *mesh) { m.tell(func() { m.state["b"], m.evicted["b"] = Failed, true }) }, true},
		"lost, and its Node deleted":            {func(m *mesh) { m.tell(func() { m.state["b"] = Failed }); m.unregister("b") }, true},
		"its Node deleted while it lives":       {func(m *mesh) { m.unregister("b") }, false},
		"its Node deleted, which no server has": {func(m *mesh) { m.tell(func() { m.unknown["b"] = true }); m.unregister("b") }, true},
		"evicted, in doubt":                     {func(m *mesh) { m.tell(func() { m.evicted["b"], m.held = true, "most servers are away" }) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, "a", "b")
				defer m.end()
				m.tell(func() { delete(m.live, "b") })
				m.start("a", podCollector)
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: "u"}, Spec: corev1.PodSpec{NodeName: "b"}}
				if _, err := m.api.CoreV1().Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				c.happens(m)
				time.Sleep(forsakenFor - 2*forsakenEvery)
				settle()
				if len(m.deleted["pods"]) != 0 {
					t.Error("it went at once")
				}
				time.Sleep(4 * forsakenEvery)
				settle()
				if went := len(m.pods()) == 0; went != c.goes {
					t.Errorf("gone: %t, deleted %v", went, m.deleted["pods"])
				}
			})
		})
	}
}

func (m *mesh) unregister(node string) {
	if err := m.api.CoreV1().Nodes().Delete(context.Background(), node, metav1.DeleteOptions{}); err != nil {
		m.t.Fatal(err)
	}
}
