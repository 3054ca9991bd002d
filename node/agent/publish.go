package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/kubernetes"
)

const (
	writeTimeout  = 10 * time.Second
	writeRetryMin = 200 * time.Millisecond
	writeRetryMax = 10 * time.Second
	conflictsMost = 5
)

// publisher writes one pod's status to the API beside its worker, so that a slow disk does not hold up a start. Only the
// latest status counts; one equal to what was written is not written again, unless somebody else wrote over it since: the
// replica takes the newest status of two servers, and the other one may have started from an older one than ours.
type publisher struct {
	api  kubernetes.Interface
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex // guards what follows
	pod     *v1.Pod    // with the status to write; nil: nothing to do
	written *v1.PodStatus
	stored  *v1.Pod       // as the API answered the last write; nil: unknown
	idle    chan struct{} // closed while there is nothing to do
}

func newPublisher(api kubernetes.Interface, log *slog.Logger) *publisher {
	idle := make(chan struct{})
	close(idle)
	return &publisher{api: api, log: log, wake: make(chan struct{}, 1), idle: idle}
}

// set makes st the status to be written. It never blocks.
func (p *publisher) set(pod *v1.Pod, st v1.PodStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.written == nil && p.pod == nil { // a new life: the API has what the last one wrote
		p.written = pod.Status.DeepCopy()
	}
	if p.pod == nil && apiequality.Semantic.DeepEqual(*p.written, st) && !p.overwritten(pod) {
		return
	}
	pod = pod.DeepCopy()
	pod.Status = st
	if p.pod == nil {
		p.idle = make(chan struct{})
	}
	p.pod = pod
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// overwritten tells that the API has a newer status than the one that we wrote last. An older pod than that write left
// behind tells nothing: the watch has not caught up. mu is held.
func (p *publisher) overwritten(pod *v1.Pod) bool {
	if p.stored == nil {
		return false
	}
	newer, err := resourceversion.CompareResourceVersion(pod.ResourceVersion, p.stored.ResourceVersion)
	return err == nil && newer > 0 && !apiequality.Semantic.DeepEqual(pod.Status, p.stored.Status)
}

// flush waits until everything is written, or ctx ends.
func (p *publisher) flush(ctx context.Context) {
	p.mu.Lock()
	idle := p.idle
	p.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

func (p *publisher) run(ctx context.Context) {
	pause := writeRetryMin
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		for {
			p.mu.Lock()
			pod := p.pod
			p.mu.Unlock()
			if pod == nil {
				break
			}
			stored, err := p.write(ctx, pod)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				p.log.Warn("status of pod not written", "pod", podName(pod), "error", err)
				after(ctx, pause)
				pause = min(2*pause, writeRetryMax)
				continue
			}
			pause = writeRetryMin
			p.done(pod, stored)
		}
	}
}

func (p *publisher) done(pod, stored *v1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written, p.stored = pod.Status.DeepCopy(), stored
	if p.pod == pod {
		p.pod = nil
		close(p.idle)
	}
}

// write puts the status on the pod as the API has it now, and returns that. A pod that is gone, or another one of the same
// name, needs none.
func (p *publisher) write(ctx context.Context, pod *v1.Pod) (stored *v1.Pod, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	pods := p.api.CoreV1().Pods(pod.Namespace)
	next := pod
	for range conflictsMost {
		stored, err := pods.UpdateStatus(ctx, next, metav1.UpdateOptions{})
		switch {
		case err == nil:
			return stored, nil
		case apierrors.IsNotFound(err):
			return nil, nil
		case !apierrors.IsConflict(err):
			return nil, err
		}
		now, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		next = now.DeepCopy()
		next.Status = mergeForeign(*pod.Status.DeepCopy(), &now.Status)
	}
	return nil, fmt.Errorf("pod %s changes all the time: %d conflicts in a row", podName(pod), conflictsMost)
}

// ours are the conditions that the agent writes; others belong to whoever wrote them.
var ours = []v1.PodConditionType{v1.PodReadyToStartContainers, v1.PodInitialized, v1.PodReady, v1.ContainersReady, v1.PodScheduled}

// mergeForeign gives our status the conditions of others, and the end of the pod where somebody declared it.
func mergeForeign(st v1.PodStatus, theirs *v1.PodStatus) v1.PodStatus {
	mine := func(c v1.PodCondition) bool { return slices.Contains(ours, c.Type) }
	st.Conditions = slices.DeleteFunc(st.Conditions, func(c v1.PodCondition) bool { return !mine(c) })
	for _, c := range theirs.Conditions {
		if !mine(c) {
			st.Conditions = append(st.Conditions, c)
		}
	}
	if theirs.Phase == v1.PodFailed && st.Phase != v1.PodFailed && st.Phase != v1.PodSucceeded {
		st.Phase, st.Reason, st.Message = theirs.Phase, theirs.Reason, theirs.Message
	}
	st.NominatedNodeName = theirs.NominatedNodeName
	st.ResourceClaimStatuses, st.ExtendedResourceClaimStatus = theirs.ResourceClaimStatuses, theirs.ExtendedResourceClaimStatus
	return st
}

// publish decides the status and hands it to the publisher.
func (w *worker) publish(s *sighting, p *plan, terminal bool) {
	pod, gone := w.wanted()
	if gone {
		return
	}
	at := place{Host: w.a.cfg.Addr, Pod: w.addr, Ending: pod.DeletionTimestamp != nil, Terminal: terminal,
		Message: func(i instance, c *v1.Container) string { return w.a.lastWords(context.Background(), w.uid, i, c) }}
	before := s.Pod.Status
	st := statusOf(s, p, at, &before)
	w.tellBackOff(pod, &before, &st)
	w.told = &st
	w.public.set(pod, st)
}
