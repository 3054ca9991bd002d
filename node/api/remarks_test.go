package api

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// remarkOn sets one condition, as a controller with a readiness gate does, and reads it where it wrote it.
func remarkOn(t *testing.T, c *kubernetes.Clientset, condition string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":%q,"status":"True"}]}}`, condition)
	if _, err := c.CoreV1().Pods("default").Patch(t.Context(), "p", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("set %s: %v", condition, err)
	}
	p, err := c.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil || !slices.ContainsFunc(p.Status.Conditions, func(c v1.PodCondition) bool { return string(c.Type) == condition }) {
		t.Errorf("who wrote %s reads %v, %v", condition, p.Status.Conditions, err)
	}
}

// agentSays writes the status that an agent that knows nothing of others' conditions would, but for these.
func agentSays(t *testing.T, c *kubernetes.Clientset, restarts int32) {
	t.Helper()
	for {
		p := must(c.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{}))(t)
		p.Status.Phase = v1.PodRunning
		p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "c", Image: "busybox", RestartCount: restarts}}
		_, err := c.CoreV1().Pods("default").UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
}

func (s *side) status(t *testing.T) (restarts int32, conditions []string) {
	t.Helper()
	p := must(s.c.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{}))(t)
	for _, c := range p.Status.Conditions {
		conditions = append(conditions, string(c.Type))
	}
	slices.Sort(conditions)
	if len(p.Status.ContainerStatuses) > 0 {
		restarts = p.Status.ContainerStatuses[0].RestartCount
	}
	return restarts, conditions
}

// TestAStatusHasTwoWriters: the agent of node-a and a client at node-b write at once, again and again.
func TestAStatusHasTwoWriters(t *testing.T) {
	a, b, merge := twoSides(t)
	merge()
	withAccount(t, a.world)
	must(a.c.CoreV1().Pods("default").Create(t.Context(), aPod("p", func(p *v1.Pod) { p.Spec.NodeName = "node-a" }), metav1.CreateOptions{}))(t)
	eventually(t, "node-b knows the pod", func() bool {
		_, err := b.c.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{})
		return err == nil
	})
	const n = 20
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("example.test/gate-%02d", i))
	}
	var client sync.WaitGroup
	client.Go(func() {
		for _, name := range want {
			remarkOn(t, b.c, name)
		}
	})
	for i := range n {
		agentSays(t, a.c, int32(i+1))
	}
	client.Wait()
	for _, s := range []*side{a, b} {
		eventually(t, "both have what both wrote", func() bool {
			restarts, now := s.status(t)
			return restarts == n && slices.Equal(now, want)
		})
	}
}

// TestAStatusSurvivesAPartition: what a client wrote while the pod's host was out of reach, and the host wrote after it.
func TestAStatusSurvivesAPartition(t *testing.T) {
	a, b, merge := twoSides(t)
	withAccount(t, a.world)
	must(a.c.CoreV1().Pods("default").Create(t.Context(), aPod("p", func(p *v1.Pod) { p.Spec.NodeName = "node-a" }), metav1.CreateOptions{}))(t)
	agentSays(t, a.c, 1)
	reconcile(t, a, b)
	remarkOn(t, b.c, "example.test/away-1")
	remarkOn(t, b.c, "example.test/away-2")
	if _, now := b.status(t); len(now) != 2 {
		t.Errorf("without the host, node-b reads %v", now)
	}
	remarkOn(t, a.c, "example.test/near")
	agentSays(t, a.c, 2)
	merge()
	for _, s := range []*side{a, b} {
		eventually(t, "both have what both wrote", func() bool {
			merge()
			restarts, now := s.status(t)
			return restarts == 2 && slices.Equal(now, []string{"example.test/away-1", "example.test/away-2", "example.test/near"})
		})
		eventually(t, "the remark is forgotten", func() bool { return len(s.kept(t)) == 0 })
	}
}

// kept are the remarks that wait for their host.
func (s *side) kept(t *testing.T) []*store.Object {
	all, _, _, err := s.disk.List(store.Selector{Kind: remarkKind}, store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRemarksAboutTheDeadAreForgotten by their home, for their host may never come back.
func TestRemarksAboutTheDeadAreForgotten(t *testing.T) {
	a, _, _ := twoSides(t)
	withAccount(t, a.world)
	pods := a.c.CoreV1().Pods("default")
	must(pods.Create(t.Context(), aPod("p", func(p *v1.Pod) { p.Spec.NodeName = "node-z" }), metav1.CreateOptions{}))(t)
	remarkOn(t, a.c, "example.test/gate")
	if all := a.kept(t); len(all) != 1 {
		t.Errorf("%d remarks are kept for a host that nobody sees", len(all))
	}
	now := int64(0)
	if err := pods.Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	if err := (remarks{a.Server}).takeAll(t.Context(), a.kept(t)); err != nil {
		t.Fatal(err)
	}
	if all := a.kept(t); len(all) != 0 {
		t.Errorf("%d remarks are kept for the dead", len(all))
	}
}
