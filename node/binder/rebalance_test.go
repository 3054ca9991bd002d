package binder

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orpheus-mesh/orpheus/placement"
)

// troupe is a deployment of twelve on three hosts, four on each, with a controller that replaces what is evicted and an
// agent that has a pod Ready 2 s after it was bound.
type troupe struct {
	*stand
	evicted []time.Time
	steady  bool
	made    int
}

func yes() *bool { b := true; return &b }

func replicas(n int32) *int32 { return &n }

func newTroupe(t *testing.T, mode placement.Rebalance, change ...func(*corev1.Pod)) *troupe {
	tr := &troupe{steady: true}
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: "web", Controller: yes()}}},
		Spec: appsv1.ReplicaSetSpec{Replicas: replicas(12)}, Status: appsv1.ReplicaSetStatus{Replicas: 12, AvailableReplicas: 12}}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: replicas(12)},
		Status: appsv1.DeploymentStatus{Replicas: 12, UpdatedReplicas: 12, AvailableReplicas: 12}}
	objects := []runtime.Object{set, deployment}
	for i := range 3 {
		objects = append(objects, node(fmt.Sprintf("n%d", i), "8", joined))
	}
	tr.stand = newStandWith(t, func(c *Config) {
		c.Rebalance, c.Steady = mode, func() bool { tr.mu.Lock(); defer tr.mu.Unlock(); return tr.steady }
	}, objects...)
	tr.api.PrependReactor("create", "pods", tr.evict)
	for i := range 12 {
		tr.create(tr.replica(append(change, on(fmt.Sprintf("n%d", i%3)), ready)...))
	}
	return tr
}

func joined(n *corev1.Node) { n.CreationTimestamp = metav1.Now() }

func ready(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func (tr *troupe) replica(change ...func(*corev1.Pod)) *corev1.Pod {
	tr.made++
	return pod(fmt.Sprintf("web-1-%d", tr.made), "1", append([]func(*corev1.Pod){func(p *corev1.Pod) {
		p.CreationTimestamp, p.Labels = metav1.Now(), map[string]string{"app": "web", "pod-template-hash": "1"}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-1", UID: "set", Controller: yes()}}
	}}, change...)...)
}

func (tr *troupe) evict(a clienttesting.Action) (bool, runtime.Object, error) {
	if a.GetSubresource() != "eviction" {
		return false, nil, nil
	}
	e := a.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction)
	tr.mu.Lock()
	tr.evicted = append(tr.evicted, time.Now())
	next := tr.replica()
	tr.mu.Unlock()
	g := corev1.SchemeGroupVersion.WithResource("pods")
	go func() {
		if err := tr.api.Tracker().Delete(g, e.Namespace, e.Name); err != nil {
			tr.t.Error(err)
		}
		if err := tr.api.Tracker().Add(next); err != nil {
			tr.t.Error(err)
		}
		time.Sleep(2 * time.Second)
		o, err := tr.api.Tracker().Get(g, next.Namespace, next.Name)
		if err != nil {
			tr.t.Error(err)
			return
		}
		p := o.(*corev1.Pod).DeepCopy()
		ready(p)
		if err := tr.api.Tracker().Update(g, p, p.Namespace); err != nil {
			tr.t.Error(err)
		}
	}()
	return true, nil, nil
}

// gone are the times of the evictions.
func (tr *troupe) gone() []time.Time {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.evicted)
}

// pass lets time go by, and tells how many pods a host has then.
func (tr *troupe) pass(d time.Duration) { time.Sleep(d); synctest.Wait() }

func (tr *troupe) on(host string) (n int) {
	l, err := tr.api.CoreV1().Pods("shop").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		tr.t.Fatal(err)
	}
	for _, p := range l.Items {
		if p.Spec.NodeName == host {
			n++
		}
	}
	return n
}

func TestNewcomerDrawsItsShareAtItsPace(t *testing.T) {
	for _, mode := range []placement.Rebalance{placement.Gentle, placement.Eager} {
		synctest.Test(t, func(t *testing.T) {
			tr := newTroupe(t, mode)
			defer func() { tr.stop() }()
			tr.pass(10 * time.Minute)
			if len(tr.gone()) != 0 {
				t.Fatalf("%d pods moved though nobody joined", len(tr.gone()))
			}
			tr.create(node("n3", "8", joined))
			tr.pass(5 * time.Minute)
			if got := tr.on("n3"); got != 3 || len(tr.gone()) != 3 {
				t.Errorf("mode %d: the newcomer has %d of 12 pods, %d were moved", mode, got, len(tr.gone()))
			}
			for i := 1; i < len(tr.gone()); i++ {
				if gap := tr.gone()[i].Sub(tr.gone()[i-1]); gap < movePace {
					t.Errorf("mode %d: two pods of one workload moved within %s", mode, gap)
				}
			}
			if tr.events("Rebalanced") != len(tr.gone()) {
				t.Errorf("%d events for %d moves", tr.events("Rebalanced"), len(tr.gone()))
			}
		})
	}
}

// What must stay stays, for as long as the newcomer is new.
func TestWhatMustNotMoveStays(t *testing.T) {
	update := func(tr *troupe, group string, o runtime.Object) {
		if err := tr.api.Tracker().Update(appsv1.SchemeGroupVersion.WithResource(group), o, "shop"); err != nil {
			tr.t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		mode   placement.Rebalance
		pods   func(*corev1.Pod)
		before func(*troupe)
		node   func(*corev1.Node)
	}{
		"off":           {mode: placement.Off},
		"unsure":        {mode: placement.Eager, before: func(tr *troupe) { tr.change(func() { tr.steady = false }) }},
		"foreign":       {mode: placement.Eager, before: func(tr *troupe) { tr.change(func() { tr.mine = func(string) bool { return false } }) }},
		"bare":          {mode: placement.Eager, pods: func(p *corev1.Pod) { p.OwnerReferences = nil }},
		"stateful":      {mode: placement.Eager, pods: func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "StatefulSet" }},
		"labelled":      {mode: placement.Eager, pods: func(p *corev1.Pod) { p.Labels[RebalanceLabel] = "off" }},
		"labelled node": {mode: placement.Eager, node: func(n *corev1.Node) { n.Labels = map[string]string{RebalanceLabel: "off"} }},
		"data": {mode: placement.Eager, pods: func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}},
		"budget": {mode: placement.Eager, before: func(tr *troupe) {
			tr.create(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"},
				Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}}})
		}},
		"rollout": {mode: placement.Eager, before: func(tr *troupe) {
			d, err := tr.api.AppsV1().Deployments("shop").Get(context.Background(), "web", metav1.GetOptions{})
			if err != nil {
				tr.t.Fatal(err)
			}
			d.Generation++
			update(tr, "deployments", d)
		}},
		"recreate": {mode: placement.Eager, before: func(tr *troupe) {
			d, err := tr.api.AppsV1().Deployments("shop").Get(context.Background(), "web", metav1.GetOptions{})
			if err != nil {
				tr.t.Fatal(err)
			}
			d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
			update(tr, "deployments", d)
		}},
		"another is not ready": {mode: placement.Eager, before: func(tr *troupe) {
			tr.create(tr.replica(on("n0")))
		}},
		"a second ReplicaSet": {mode: placement.Eager, before: func(tr *troupe) {
			tr.create(tr.replica(on("n0"), ready, func(p *corev1.Pod) {
				p.Labels["pod-template-hash"], p.OwnerReferences[0].Name = "2", "web-2"
			}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var change []func(*corev1.Pod)
				if c.pods != nil {
					change = append(change, c.pods)
				}
				tr := newTroupe(t, c.mode, change...)
				defer func() { tr.stop() }()
				if c.before != nil {
					c.before(tr)
				}
				tr.pass(10 * time.Minute)
				n := node("n3", "8", joined)
				if c.node != nil {
					c.node(n)
				}
				tr.create(n)
				tr.pass(10 * time.Minute)
				if len(tr.gone()) != 0 {
					t.Errorf("%d pods moved", len(tr.gone()))
				}
			})
		})
	}
}

// Young pods stay until they have settled, and those that are younger than the newcomer for good.
func TestOnlyOlderPodsThatHaveSettledMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, placement.Gentle)
		defer func() { tr.stop() }()
		tr.create(node("n3", "8", joined))
		tr.pass(settleAge - 10*time.Second)
		if len(tr.gone()) != 0 {
			t.Error("pods moved that had not settled")
		}
		tr.pass(time.Minute)
		if len(tr.gone()) == 0 {
			t.Error("settled pods do not move")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, placement.Gentle)
		defer func() { tr.stop() }()
		tr.create(node("n3", "8", func(n *corev1.Node) { n.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour)) }))
		tr.pass(10 * time.Minute)
		if len(tr.gone()) != 0 {
			t.Error("pods moved to a host that was there when they were placed")
		}
	})
}

// A pod that its home does not move must not keep all others from moving.
func TestAPodThatStaysIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, placement.Gentle)
		defer func() { tr.stop() }()
		tr.pass(2 * time.Minute)
		first := ""
		tr.change(func() {
			tr.mine = func(name string) bool {
				if first == "" {
					first = name
				}
				return name != first
			}
		})
		foreign := func() string { tr.mu.Lock(); defer tr.mu.Unlock(); return first }
		tr.create(node("n3", "8", joined))
		tr.pass(30 * time.Second)
		if len(tr.gone()) != 0 || foreign() == "" {
			t.Fatalf("%d moved, another home's is %q", len(tr.gone()), foreign())
		}
		tr.pass(2 * time.Minute)
		if len(tr.gone()) == 0 || tr.pod(foreign()).Spec.NodeName == "n3" {
			t.Errorf("%d moved", len(tr.gone()))
		}
	})
}
