package binder

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/placement"
)

// Bounds of rebalancing.
const (
	lookEvery   = 5 * time.Second
	movePace    = 20 * time.Second // between moves to one newcomer, and of one workload
	mostMoves   = 10               // of one look, when eager; gentle moves one
	settleAge   = time.Minute      // of a pod before it is moved
	newcomerFor = 24 * time.Hour
	passAfter   = time.Minute // a pod that is still there although it should have moved …
	passFor     = 10 * time.Minute
)

// relocation evicts a pod in favour of a host that joined.
type relocation struct {
	pod      *corev1.Pod // no more of it than its name
	set      string      // name of its ReplicaSet
	from, to string
	joined   time.Time
}

// drift is what the loop remembers of moves; owned by it.
type drift struct {
	turn     int                     // of newcomers
	moved    map[string]time.Time    // last move to a host that this home made
	proposed map[types.UID]time.Time // when a pod, of whatever home, was first to be moved
}

// rebalance looks once whether pods should make way for one that fits nowhere, else whether a host that joined draws some. All homes that see the same come to the same answer, and each
// moves the pods that are its own. One newcomer has its turn a look; each draws at most one pod (eager: mostMoves) every
// movePace, and no two pods of one workload.
func (b *Binder) rebalance(now time.Time) {
	if b.config.Steady == nil || !b.config.Steady() || b.flights.count() > 0 {
		return
	}
	b.drift.forget(now)
	if b.makeWay(now) {
		return
	}
	newcomers := b.picture.newcomers(now)
	maps.DeleteFunc(newcomers, func(host string, _ time.Time) bool { return now.Sub(b.drift.moved[host]) < movePace })
	if len(newcomers) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(newcomers))
	b.drift.turn++
	host := names[b.drift.turn%len(names)]
	movable := b.picture.movable(newcomers[host], now)
	maps.DeleteFunc(movable, func(uid string, _ mover) bool { return b.drift.passes(types.UID(uid), now) })
	if len(movable) == 0 {
		return
	}
	plan := placement.Place(drawing(b.picture.view(b.about(nil)), host, movable), placement.Options{Rebalance: b.config.Rebalance})
	b.relocate(plan.Moves, movable, newcomers[host], now)
}

// relocate hands the couriers those of the moves that are this home's.
func (b *Binder) relocate(moves []placement.Move, movable map[string]mover, joined, now time.Time) {
	moving := map[string]bool{} // workloads
	for _, m := range moves {
		p, may := movable[m.Pod]
		if !may || moving[p.workload] || len(moving) == mostMoves {
			continue
		}
		moving[p.workload] = true
		uid := types.UID(m.Pod)
		if b.drift.proposed[uid].IsZero() {
			b.drift.proposed[uid] = now
		}
		if !b.config.Mine("core/pods", p.namespace, p.name) {
			continue
		}
		r := relocation{pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, UID: uid}},
			set: p.set, from: m.From, to: m.To, joined: joined}
		select {
		case b.relocations <- r:
			b.drift.moved[m.To] = now
		default: // the couriers are behind: another time
		}
	}
}

// passes tells whether a pod was to be moved for a while and has not been: whatever keeps it there must not keep the others.
func (d *drift) passes(uid types.UID, now time.Time) bool {
	at, is := d.proposed[uid]
	return is && now.Sub(at) >= passAfter
}

func newDrift() drift {
	return drift{moved: map[string]time.Time{}, proposed: map[types.UID]time.Time{}}
}

func (d *drift) forget(now time.Time) {
	maps.DeleteFunc(d.proposed, func(_ types.UID, at time.Time) bool { return now.Sub(at) >= passAfter+passFor })
	maps.DeleteFunc(d.moved, func(_ string, at time.Time) bool { return now.Sub(at) >= movePace })
}

// relocatePod evicts the pod, unless its workload turns out to be on the move already. The disruption budgets are asked once more
// by the eviction, where they are kept. Its controller makes a new pod, which is placed like any other.
func (b *Binder) relocatePod(ctx context.Context, client kubernetes.Interface, v *voice, r relocation) {
	err := b.quiet(ctx, client, r.pod.Namespace, r.set)
	if err == nil {
		err = evict(ctx, client, r.pod)
	}
	if err != nil {
		if ctx.Err() == nil {
			b.config.Log.Info("pod not moved to a server that joined", "pod", key(r.pod), "from", r.from, "to", r.to, "err", err)
		}
		return
	}
	age := time.Since(r.joined).Round(time.Second)
	v.recorder.Eventf(r.pod, corev1.EventTypeNormal, "Rebalanced", "Evicted from %s because server %s joined %s ago and has less to do", r.from, r.to, age)
	b.config.Log.Info("pod moved to a server that joined", "pod", key(r.pod), "from", r.from, "to", r.to, "joined", age)
}

// quiet asks the owners themselves: pods do not tell how many of them there should be.
func (b *Binder) quiet(ctx context.Context, client kubernetes.Interface, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	set, err := client.AppsV1().ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if n := *set.Spec.Replicas; set.Status.ObservedGeneration < set.Generation || set.Status.Replicas != n || set.Status.AvailableReplicas != n {
		return fmt.Errorf("ReplicaSet %s is not complete", name)
	}
	ref := metav1.GetControllerOf(set)
	if ref == nil || ref.Kind != "Deployment" {
		return nil
	}
	d, err := client.AppsV1().Deployments(namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if s := d.Status; s.ObservedGeneration < d.Generation || s.UpdatedReplicas != *d.Spec.Replicas || s.AvailableReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas {
		return fmt.Errorf("the Deployment %s is being rolled out or scaled", ref.Name)
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return fmt.Errorf("the Deployment %s has the strategy Recreate: no two of its pods may be alive", ref.Name)
	}
	return nil
}
