package agent

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

const evictPeriod = 2 * time.Second // between two looks at this node's taints

// runEvictions deletes the pods of this host that do not tolerate its NoExecute taints. Upstream's controller for that does not
// run in a mesh, for it would act on absence; a host that reads its own taints is not absent.
func (a *Agent) runEvictions(ctx context.Context) error {
	seen := map[string]time.Time{} // when a taint without a time of its own was first seen
	tick := time.NewTicker(evictPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := a.evictions(ctx, seen); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("pods not evicted by taints", "error", err)
		}
	}
}

func (a *Agent) evictions(ctx context.Context, seen map[string]time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	node, err := a.cfg.API.CoreV1().Nodes().Get(ctx, a.cfg.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read node %s: %w", a.cfg.NodeName, err)
	}
	taints := executing(node.Spec.Taints, seen, time.Now())
	if len(taints) == 0 {
		return nil
	}
	for _, pod := range a.wanted() {
		if at, evict := evictedAt(pod.Spec.Tolerations, taints); evict && !time.Now().Before(at) {
			if err := a.evict(ctx, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted are the pods of this host that are to run.
func (a *Agent) wanted() (pods []*v1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		if p, gone := w.wanted(); !gone && p.DeletionTimestamp == nil && !podutil.IsPodTerminal(p) {
			pods = append(pods, p)
		}
	}
	return pods
}

// executing are the taints that drive pods out, each with the time since when. Those that stand for absence do nothing here:
// whoever reads them is there.
func executing(all []v1.Taint, seen map[string]time.Time, now time.Time) []v1.Taint {
	var out []v1.Taint
	still := map[string]bool{}
	for _, t := range all {
		if t.Effect != v1.TaintEffectNoExecute || t.Key == v1.TaintNodeUnreachable || t.Key == v1.TaintNodeNotReady {
			continue
		}
		name := t.ToString()
		still[name] = true
		if _, known := seen[name]; !known {
			seen[name] = now
		}
		if t.TimeAdded == nil {
			since := metav1.NewTime(seen[name])
			t.TimeAdded = &since
		}
		out = append(out, t)
	}
	for name := range seen {
		if !still[name] {
			delete(seen, name)
		}
	}
	return out
}

// evictedAt is when a pod has to go because of taints, and whether it has to at all: at once for a taint that it does not
// tolerate, after the shortest of its tolerations for one that it tolerates for a time.
func evictedAt(tolerations []v1.Toleration, taints []v1.Taint) (at time.Time, evict bool) {
	for _, taint := range taints {
		until, forever := tolerated(tolerations, &taint)
		if !forever && (!evict || until.Before(at)) {
			at, evict = until, true
		}
	}
	return at, evict
}

// tolerated is until when a taint is tolerated: of several tolerations that match the shortest counts; where none does,
// since the taint is there.
func tolerated(tolerations []v1.Toleration, taint *v1.Taint) (until time.Time, forever bool) {
	until = taint.TimeAdded.Time
	limited := false
	for i := range tolerations {
		t := &tolerations[i]
		if !matches(t, taint) {
			continue
		}
		if t.TolerationSeconds == nil {
			forever = !limited
			continue
		}
		end := taint.TimeAdded.Add(time.Duration(max(*t.TolerationSeconds, 0)) * time.Second)
		if !limited || end.Before(until) {
			until, limited, forever = end, true, false
		}
	}
	return until, forever
}

// matches leaves out numeric comparison, which is off by default.
func matches(t *v1.Toleration, taint *v1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case v1.TolerationOpExists:
		return true
	case "", v1.TolerationOpEqual:
		return t.Key != "" && t.Value == taint.Value
	}
	return false
}

func (a *Agent) evict(ctx context.Context, pod *v1.Pod) error {
	a.events.Event(about(pod, ""), v1.EventTypeNormal, "TaintManagerEviction", fmt.Sprintf("Marking for deletion Pod %s", podName(pod)))
	err := a.cfg.API.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("evict pod %s: %w", podName(pod), err)
	}
	a.cfg.Log.Info("pod evicted: it does not tolerate a taint of this node", "pod", podName(pod))
	return nil
}
