package agent

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

const cordonTimeout = 2 * time.Second

// Admit answers a pod's home that wants to bind the pod here: may it come? A yes reserves what the pod asks for, for 10 s.
// free is what this host had left besides the pod; reason says why not. It may be called from any goroutine.
func (a *Agent) Admit(pod *v1.Pod) (ok bool, free Resources, reason string) {
	now, capacity := time.Now(), amounts(a.host.allocatable())
	if trouble := a.host.trouble(); trouble != "" {
		return false, Resources{}, trouble
	}
	if !a.synced.Load() {
		return false, Resources{}, "this host is starting and does not know yet what runs on it"
	}
	if a.cordoned(pod) {
		return false, a.ledger.free(capacity, now), "node is cordoned"
	}
	free, no := a.ledger.admit(pod, capacity, now, now.Add(reservation))
	return no.Reason == "", free, no.Message
}

// Free is what this host can still promise.
func (a *Agent) Free() Resources { return a.ledger.free(amounts(a.host.allocatable()), time.Now()) }

func (a *Agent) cordoned(pod *v1.Pod) bool {
	ctx, cancel := context.WithTimeout(context.Background(), cordonTimeout)
	defer cancel()
	node, err := a.cfg.API.CoreV1().Nodes().Get(ctx, a.cfg.NodeName, metav1.GetOptions{})
	if err != nil || !node.Spec.Unschedulable {
		return false
	}
	taint := v1.Taint{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		if (t.Key == "" && t.Operator == v1.TolerationOpExists || t.Key == taint.Key) && (t.Effect == "" || t.Effect == taint.Effect) {
			return false
		}
	}
	return true
}

// admit checks a pod that came bound, once. What runs already is booked whatever the capacity; what does not fit fails with
// the reason, as the kubelet's pods do: whoever made it makes another one elsewhere.
func (w *worker) admit(s *sighting) bool {
	if w.admitted || s.over() {
		return true
	}
	w.admitted = true
	if s.Sandbox != nil || len(s.Of) > 0 || s.Pod.Status.StartTime != nil {
		w.a.ledger.book(s.Pod)
		return true
	}
	_, no := w.a.ledger.admit(s.Pod, amounts(w.a.host.allocatable()), s.Now, time.Time{})
	if no.Reason == "" {
		return true
	}
	st := s.Pod.Status
	st.Phase, st.Reason, st.Message = v1.PodFailed, no.Reason, "Pod was rejected: "+no.Message
	now := metav1.NewTime(s.Now).Rfc3339Copy()
	st.StartTime, st.ObservedGeneration = &now, s.Pod.Generation
	podutil.UpdatePodCondition(&st, &v1.PodCondition{Type: v1.PodReady, Status: v1.ConditionFalse, Reason: "PodFailed", LastTransitionTime: now})
	w.told = &st
	w.public.set(s.Pod, st)
	w.warn(s.Pod, "", no.Reason, no.Message)
	return false
}
