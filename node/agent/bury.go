package agent

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// bury ends a pod that is deleted, step by step: containers with their grace, sandbox, network, the last word about it,
// volumes, and at last the API object. done tells that nothing is left. gone: the API has no such object any more.
func (w *worker) bury(ctx context.Context, s *sighting, gone bool) (done bool, next time.Time) {
	w.burying, next = true, time.Now().Add(relist)
	p := &plan{Waiting: map[string]waiting{}}
	p.end(s, "")
	for _, i := range s.strays() {
		p.stop(s, i, "", false)
		p.Finish = false
	}
	w.hurry(s, graceDuration(s.Pod))
	for _, st := range p.Stop {
		st.Why = "Stopping container " + st.Instance.Of
		w.stop(ctx, s.Pod, st, graceDuration(s.Pod))
	}
	if !p.Finish {
		w.publish(s, p, false)
		return false, next
	}
	if !w.released {
		w.release(ctx, s)
		if !w.released {
			return false, time.Now().Add(troubleFirst)
		}
	}
	w.publish(s, p, true)
	w.public.flush(ctx)
	if !w.sweep(ctx, s) {
		return false, time.Now().Add(troubleFirst)
	}
	if gone {
		return true, next
	}
	return w.erase(ctx, s.Pod)
}

// strays are running containers that the pod's spec does not name; a pod known by its labels alone has only such.
func (s *sighting) strays() (out []instance) {
	for name, list := range s.Of {
		if containerOf(s.Pod, name) != nil {
			continue
		}
		for _, i := range list {
			if i.State == docker.Running {
				out = append(out, i)
			}
		}
	}
	return out
}

// hurry shortens what is going down already when the user asked for a shorter grace since.
func (w *worker) hurry(s *sighting, grace time.Duration) {
	if s.Pod.DeletionTimestamp == nil {
		return
	}
	by := s.Pod.DeletionTimestamp.Add(leastGrace) // the API sets it to now plus grace
	if grace == 0 {
		by = s.Now
	}
	for _, st := range w.stops {
		st.shorten(by)
	}
}

// sweep removes dead containers and everything on disk and in memory.
func (w *worker) sweep(ctx context.Context, s *sighting) bool {
	for id := range w.known {
		if err := w.a.cfg.Docker.Remove(ctx, id); err != nil {
			w.warn(s.Pod, "", events.FailedToKillPod, err.Error())
			return false
		}
	}
	if err := w.a.volumes.Teardown(w.uid); err != nil {
		w.warn(s.Pod, "", "FailedUnmount", err.Error())
		w.a.cfg.Log.Warn("volumes not removed", "pod", podName(s.Pod), "error", err)
		return false
	}
	w.mounted = nil
	return true
}

// erase deletes the API object for good. It comes back as an event; until then the worker stays.
func (w *worker) erase(ctx context.Context, pod *v1.Pod) (done bool, next time.Time) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	now := int64(0)
	err := w.a.cfg.API.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &w.uid}})
	if apierrors.IsConflict(err) && w.replaced(ctx, pod) {
		err = nil
	}
	if err == nil || apierrors.IsNotFound(err) {
		w.erased = true
		return false, time.Now().Add(relist)
	}
	w.a.cfg.Log.Warn("pod not deleted", "pod", podName(pod), "error", err)
	return false, time.Now().Add(troubleFirst)
}

// replaced tells that the name is another object's now, or nobody's. A refused deletion alone does not say so: somebody may
// only have written the pod at the same moment.
func (w *worker) replaced(ctx context.Context, pod *v1.Pod) bool {
	now, err := w.a.cfg.API.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	return apierrors.IsNotFound(err) || err == nil && now.UID != w.uid
}
