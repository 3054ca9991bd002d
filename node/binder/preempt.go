package binder

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/placement"
)

// maxPreemptions bounds the preemptions that wait for a courier.
const maxPreemptions = 64

// preemption tells pods to leave a host for another.
type preemption struct {
	pod     *corev1.Pod
	host    string
	victims []*corev1.Pod // no more of them than their names
	sets    []string      // names of the victims' ReplicaSets, when they go to other hosts to make way; nil: they have lower priority
}

// promises are the preemptions that the watch does not show yet. In every decision until then their victims are leaving and
// their pods are promised the host, so that nobody else is told to leave for the same pod.
type promises struct {
	mu sync.Mutex // guards all
	m  map[types.UID]promise
}

type promise struct {
	host    string
	victims []types.UID
	until   time.Time
}

func newPromises() *promises { return &promises{m: map[types.UID]promise{}} }

func (p *promises) give(o preemption, now time.Time) {
	x := promise{host: o.host, until: now.Add(landWithin)}
	for _, v := range o.victims {
		x.victims = append(x.victims, v.UID)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m[o.pod.UID] = x
}

func (p *promises) takeBack(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.m, uid)
}

// standing are the hosts promised, by pod, and who is leaving. What is old is forgotten: then the picture is right.
func (p *promises) standing(now time.Time) (hosts map[types.UID]string, leaving map[types.UID]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	hosts, leaving = map[types.UID]string{}, map[types.UID]bool{}
	for uid, x := range p.m {
		if !x.until.After(now) {
			delete(p.m, uid)
			continue
		}
		hosts[uid] = x.host
		for _, v := range x.victims {
			leaving[v] = true
		}
	}
	return hosts, leaving
}

// preempt hands the couriers what the plan says about pods of this batch. When they are behind it is decided anew later.
func (b *Binder) preempt(plan []placement.Preemption, batch map[string]*corev1.Pod, now time.Time) {
	for _, x := range plan {
		p := batch[x.Pod]
		if p == nil {
			continue // another home's
		}
		o := preemption{pod: p, host: x.Host, victims: b.picture.names(x.Victims)}
		b.promises.give(o, now)
		select {
		case b.preemptions <- o:
		default:
			b.promises.takeBack(p.UID)
		}
	}
}

// held tells that a pod might preempt, were it not for this server's doubts: it is tried again soon.
func (b *Binder) held(o placement.Options, p *corev1.Pod) bool {
	return b.config.Preempt != nil && !o.Preempt && p.Spec.Priority != nil && *p.Spec.Priority > 0
}

// names finds pods by UID.
func (c *picture) names(uids []string) (out []*corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range uids {
		if e := c.byUID[u]; e != nil {
			out = append(out, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: e.pod.Namespace, Name: e.pod.Name, UID: types.UID(e.pod.UID)}})
		}
	}
	return out
}

// clear tells a pod which host it is promised, then evicts the victims. Those that only make way are asked for first: their workloads
// must be quiet. An eviction asks the disruption budgets once more, where
// they are kept: another home may have used them up meanwhile. Then the promise is taken back and decided anew.
func (b *Binder) clear(ctx context.Context, client, evictor kubernetes.Interface, v *voice, o preemption) {
	for i, set := range o.sets {
		if err := b.quiet(ctx, evictor, o.victims[i].Namespace, set); err != nil {
			b.promises.takeBack(o.pod.UID)
			b.config.Log.Info("no pod makes way for another", "pod", key(o.victims[i]), "host", o.host, "for", key(o.pod), "err", err)
			return
		}
	}
	err := nominate(ctx, client, o.pod, o.host)
	for _, victim := range o.victims {
		if err != nil {
			break
		}
		if err = evict(ctx, evictor, victim); err == nil {
			v.left(victim, o)
			b.config.Log.Info("pod told to leave for another", "pod", key(victim), "host", o.host, "for", key(o.pod), "lower priority", o.sets == nil)
		}
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	b.promises.takeBack(o.pod.UID)
	if err := nominate(ctx, client, o.pod, ""); err != nil {
		b.config.Log.Debug("promise not taken back", "pod", key(o.pod), "err", err)
	}
	b.config.Log.Info("host not cleared for a pod", "pod", key(o.pod), "host", o.host, "err", err)
}

func (v *voice) left(victim *corev1.Pod, o preemption) {
	if o.sets == nil {
		v.recorder.Eventf(victim, corev1.EventTypeNormal, "Preempted", "Preempted by pod %s on node %s", o.pod.UID, o.host)
		return
	}
	v.recorder.Eventf(victim, corev1.EventTypeNormal, "Rebalanced", "Evicted from %s to make way for pod %s, which fits nowhere else", o.host, key(o.pod))
}

// nominate writes the host that a pod is promised; "" takes the promise back.
func nominate(ctx context.Context, client kubernetes.Interface, p *corev1.Pod, host string) error {
	var value any
	if host != "" {
		value = host
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": map[string]any{"nominatedNodeName": value}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	if _, err = client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("promise the host: %w", err)
	}
	return nil
}

func evict(ctx context.Context, client kubernetes.Interface, victim *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	err := client.PolicyV1().Evictions(victim.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: victim.Namespace, Name: victim.Name},
		DeleteOptions: metav1.NewPreconditionDeleteOptions(string(victim.UID)),
	})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone, or another of its name is there
	}
	return fmt.Errorf("evict %s: %w", key(victim), err)
}
