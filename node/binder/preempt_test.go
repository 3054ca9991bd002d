package binder

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// evictions lets the fake API evict: a victim is leaving for a while, then gone. refuse is what a budget says.
func (s *stand) evictions(refuse func(name string) bool) (asked *[]string) {
	asked = &[]string{}
	s.api.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		e := a.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction)
		s.mu.Lock()
		*asked = append(*asked, e.Name)
		s.mu.Unlock()
		if refuse(e.Name) {
			return true, nil, apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		}
		g := corev1.SchemeGroupVersion.WithResource("pods")
		go func() {
			time.Sleep(5 * time.Second)
			if err := s.api.Tracker().Delete(g, e.Namespace, e.Name); err != nil {
				s.t.Error(err)
			}
		}()
		return true, nil, nil
	})
	return asked
}

func prio(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func on(host string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = host } }

func TestPodOfHigherPriorityGetsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "4"))
		defer func() { s.stop() }()
		asked := s.evictions(func(string) bool { return false })
		s.create(pod("low", "3", on("a"), prio(1)), pod("lower", "1", on("a")), pod("high", "3", prio(9)))
		if p := s.pod("high"); len(*asked) != 1 || (*asked)[0] != "low" || p.Status.NominatedNodeName != "a" || p.Spec.NodeName != "" {
			t.Fatalf("evicted %v, high: %+v", *asked, p.Status)
		}
		s.create(node("tiny", "1"), pod("other", "3", prio(5))) // it is decided anew, while the victim is still leaving
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(*asked) != 1 {
			t.Fatalf("evicted %v for one pod", *asked)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(*asked) != 1 || s.bound["high"] != "a" || s.bound["other"] != "" {
			t.Errorf("evicted %v, bound %v", *asked, s.bound)
		}
		if s.events("Preempted") != 1 {
			t.Errorf("%d events", s.events("Preempted"))
		}
	})
}

// A budget that allows nothing by the picture is not asked; one that another home has used up meanwhile is asked in vain.
func TestPreemptionKeepsBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &metav1.LabelSelector{}
		budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: all}}
		s := newStand(t, node("a", "4"), budget)
		defer func() { s.stop() }()
		usedUp := true
		asked := s.evictions(func(string) bool { return usedUp })
		s.create(pod("low", "3", on("a")), pod("high", "3", prio(9)))
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(*asked) != 0 || s.why("high") == "" {
			t.Fatalf("evicted %v against the budget", *asked)
		}
		allows := budget.DeepCopy()
		allows.Status.DisruptionsAllowed = 1
		if err := s.api.Tracker().Update(policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"), allows, "shop"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lastPause)
		synctest.Wait()
		s.change(func() { usedUp = false })
		if n, promised := len(*asked), s.pod("high").Status.NominatedNodeName; n == 0 || s.pod("low").Spec.NodeName != "a" || promised != "" {
			t.Fatalf("asked %d times, promised %q", n, promised)
		}
		s.create(node("tiny", "1")) // whatever changes lets it try again
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.bound["high"] != "a" {
			t.Errorf("bound %v, asked %v", s.bound, *asked)
		}
	})
}

func TestNobodyIsToldToLeaveInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, node("a", "4"))
		defer func() { s.stop() }()
		s.change(func() { s.unsure = true })
		asked := s.evictions(func(string) bool { return false })
		s.create(pod("low", "3", on("a")), pod("high", "3", prio(9)))
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(*asked) != 0 {
			t.Fatalf("evicted %v in doubt", *asked)
		}
		s.change(func() { s.unsure = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.bound["high"] != "a" {
			t.Errorf("bound %v", s.bound)
		}
	})
}
