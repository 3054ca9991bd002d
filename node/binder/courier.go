package binder

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Bounds of one call.
const (
	admitWithin = 5 * time.Second
	writeWithin = 10 * time.Second
)

// job is one pod's way after a decision: to one of hosts, in order, or a refusal to be told.
type job struct {
	pod     *corev1.Pod
	hosts   []string
	refusal string
}

// result tells the loop how a pod fared. Neither bound nor a reason: it changed or is gone, as the watch will tell.
type result struct {
	pod    *corev1.Pod
	bound  bool
	reason string
}

func (b *Binder) courier(ctx context.Context, client, evictor kubernetes.Interface, v *voice) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-b.refused:
			if err := v.refuse(ctx, j.pod, j.refusal); err != nil && ctx.Err() == nil {
				b.config.Log.Debug("pod not told why it waits", "pod", key(j.pod), "err", err)
			}
		case o := <-b.preemptions:
			b.clear(ctx, client, evictor, v, o)
		case r := <-b.relocations:
			b.relocatePod(ctx, evictor, v, r)
		case j := <-b.jobs:
			r := b.deliver(ctx, client, v, j)
			select {
			case b.done <- r:
			case <-ctx.Done():
				return
			}
		}
	}
}

// deliver asks the candidates in turn and writes the binding to the first that admits the pod.
func (b *Binder) deliver(ctx context.Context, client kubernetes.Interface, v *voice, j job) result {
	var said []string
	for _, host := range j.hosts {
		b.flights.divert(j.pod.UID, host)
		ok, reason, err := b.admit(ctx, host, j.pod)
		switch {
		case err != nil:
			said = append(said, fmt.Sprintf("%s did not answer: %v", host, err))
		case !ok:
			said = append(said, fmt.Sprintf("%s declined: %s", host, reason))
		default:
			if len(said) > 0 {
				b.config.Log.Info("a pod goes to another host than was meant for it", "pod", key(j.pod), "host", host, "said", said)
			}
			return b.bind(ctx, client, v, j.pod, host)
		}
	}
	b.config.Log.Info("no candidate admits the pod", "pod", key(j.pod), "said", said)
	return result{pod: j.pod, reason: fmt.Sprintf("0/%d candidate nodes admit the pod: %s.", len(j.hosts), strings.Join(said, "; "))}
}

func (b *Binder) admit(ctx context.Context, host string, p *corev1.Pod) (ok bool, reason string, err error) {
	ctx, cancel := context.WithTimeout(ctx, admitWithin)
	defer cancel()
	return b.config.Admit(ctx, host, p)
}

func (b *Binder) bind(ctx context.Context, client kubernetes.Interface, v *voice, p *corev1.Pod, host string) result {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	err := client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: host},
	}, metav1.CreateOptions{})
	switch {
	case err == nil:
		v.bound(p, host)
		return result{pod: p, bound: true}
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), ctx.Err() != nil:
		b.config.Log.Debug("binding not written", "pod", key(p), "host", host, "err", err)
		return result{pod: p}
	}
	return result{pod: p, reason: fmt.Sprintf("binding to %s failed: %v", host, err)}
}

// voice tells pods, and people, what was decided.
type voice struct {
	client   kubernetes.Interface
	events   record.EventBroadcaster
	recorder record.EventRecorder
}

func newVoice(ctx context.Context, client kubernetes.Interface) *voice {
	e := record.NewBroadcaster(record.WithContext(ctx))
	e.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return &voice{client: client, events: e, recorder: e.NewRecorder(scheme.Scheme, corev1.EventSource{Component: corev1.DefaultSchedulerName})}
}

func (v *voice) close() { v.events.Shutdown() }

func (v *voice) bound(p *corev1.Pod, host string) {
	v.recorder.Eventf(p, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %s/%s to %s", p.Namespace, p.Name, host)
}

// refuse emits the event and writes the condition, unless the pod already says just that.
func (v *voice) refuse(ctx context.Context, p *corev1.Pod, why string) error {
	v.recorder.Event(p, corev1.EventTypeWarning, "FailedScheduling", why)
	now := metav1.Now()
	c := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: why, LastTransitionTime: now}
	for _, old := range p.Status.Conditions {
		if old.Type != c.Type || old.Status != c.Status {
			continue
		}
		if old.Reason == c.Reason && old.Message == c.Message {
			return nil
		}
		c.LastTransitionTime = old.LastTransitionTime
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{c}},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	_, err = v.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
