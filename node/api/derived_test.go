package api

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
)

func podReady(p *v1.Pod) v1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == v1.PodReady {
			return c
		}
	}
	return v1.PodCondition{}
}

func nodeReady(n *v1.Node) v1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == v1.NodeReady {
			return c
		}
	}
	return v1.NodeCondition{}
}

// TestAHostOutOfSight follows a pod and its node through suspicion, loss and return.
func TestAHostOutOfSight(t *testing.T) {
	w := start(t, onDisk(t))
	withAccount(t, w)
	c := w.admin(t).CoreV1()
	n := must(c.Nodes().Create(t.Context(), &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-b"}}, metav1.CreateOptions{}))(t)
	n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "EngineUp"}}
	must(c.Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}))(t)
	p := must(c.Pods("default").Create(t.Context(), aPod("p", func(p *v1.Pod) { p.Spec.NodeName = "node-b" }), metav1.CreateOptions{}))(t)
	since := metav1.Date(2026, 1, 2, 3, 4, 5, 0, metav1.Now().Location())
	p.Status.Phase = v1.PodRunning
	p.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue, LastTransitionTime: since}, {Type: v1.ContainersReady, Status: v1.ConditionTrue, LastTransitionTime: since}}
	p = must(c.Pods("default").UpdateStatus(t.Context(), p, metav1.UpdateOptions{}))(t)
	key := store.Key{Kind: "core/pods", Namespace: "default", Name: "p"}
	stored, _ := w.store.Get(key)
	// The index learns of the pod by the store's events, which come after the write was answered.
	see := must(c.Pods("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: p.ResourceVersion}))(t)
	defer see.Stop()
	next := func() v1.PodCondition {
		t.Helper()
		e := <-see.ResultChan()
		if e.Type != watch.Modified {
			t.Fatalf("a watcher saw %s %v", e.Type, e.Object)
		}
		got := e.Object.(*v1.Pod)
		if got.Status.Phase != v1.PodRunning {
			t.Errorf("its phase reads %s", got.Status.Phase)
		}
		return podReady(got)
	}

	w.sky.set("node-b", gossip.Suspect)
	if r := next(); r.Status != v1.ConditionFalse || r.Reason != "NodeSuspect" {
		t.Errorf("under suspicion it reads %+v", r)
	}
	if r := nodeReady(must(c.Nodes().Get(t.Context(), "node-b", metav1.GetOptions{}))(t)); r.Status != v1.ConditionTrue {
		t.Errorf("a suspect node reads %+v", r)
	}
	w.sky.set("node-b", gossip.Failed)
	if r := next(); r.Status != v1.ConditionFalse || r.Reason != "NodeLost" {
		t.Errorf("lost, it reads %+v", r)
	}
	if r := nodeReady(must(c.Nodes().Get(t.Context(), "node-b", metav1.GetOptions{}))(t)); r.Status != v1.ConditionUnknown || r.Reason != "NodeLost" {
		t.Errorf("a lost node reads %+v", r)
	}

	// What a client read and sends back must not become the host's word; what it adds must.
	shown := must(c.Pods("default").Get(t.Context(), "p", metav1.GetOptions{}))(t)
	shown.Status.Message = "seen"
	must(c.Pods("default").UpdateStatus(t.Context(), shown, metav1.UpdateOptions{}))(t)
	next()
	must(c.Pods("default").Patch(t.Context(), "p", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{}))(t)
	next()

	w.sky.set("node-b", gossip.Alive)
	if r := next(); r.Status != v1.ConditionTrue || !r.LastTransitionTime.Equal(&since) {
		t.Errorf("back again it reads %+v, want True since %v", r, since)
	}
	if now, _ := w.store.Get(key); stored.UID != now.UID || now.Author != stored.Author {
		t.Errorf("the stored pod became another")
	}
}
