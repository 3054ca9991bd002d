package binder

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/orpheus-mesh/orpheus/placement"
)

// Bounds of making way.
const (
	stuckFor    = 15 * time.Second // how long a pod has fitted nowhere before others that run make way for it
	gentleMoves = 1                // pods that make way for one
	eagerMoves  = 4
	firstSearch = 10 * time.Second // before the next search for the same pod, when the last found nothing
	lastSearch  = 5 * time.Minute  // the longest such pause
)

// makeWay looks for the pod of this home that has waited longest in its turn whether a few that run could make way for it by
// going to other hosts, and has them do so; true when it found such moves. Who may move, and when, is as in rebalancing. The room
// is promised to the pod as by preemption.
func (b *Binder) makeWay(now time.Time) bool {
	p, t := b.stuck(now)
	if p == nil {
		return false
	}
	t.search = min(max(2*t.search, firstSearch), lastSearch)
	t.searched = now
	movable := b.picture.movable(now, now)
	o := placement.Options{Moves: gentleMoves}
	if b.config.Rebalance == placement.Eager {
		o.Moves = eagerMoves
	}
	view := b.picture.view(b.about([]*corev1.Pod{p}))
	settled(view, movable)
	way, ok := wayFor(p, placement.Place(view, o).Moves, movable, b.picture)
	if !ok {
		return false
	}
	b.promises.give(way, now)
	select {
	case b.preemptions <- way:
	default:
		b.promises.takeBack(p.UID)
	}
	return true
}

// stuck is the pod whose turn it is: it was refused, and no host is promised to it.
func (b *Binder) stuck(now time.Time) (*corev1.Pod, *try) {
	queue, _, ok := b.picture.queue(b.config.Mine)
	if !ok {
		return nil, nil
	}
	promised, _ := b.promises.standing(now)
	order(queue)
	for _, p := range queue {
		t := b.tries[p.UID]
		if t == nil || t.reason == "" || now.Sub(t.since) < stuckFor || now.Sub(t.searched) < t.search || p.Status.NominatedNodeName != "" || promised[p.UID] != "" || b.lacks(p) != "" {
			continue
		}
		return p, t
	}
	return nil, nil
}

// wayFor turns the moves for a pod into a promise and the evictions that keep it. No two pods of one workload go at a time.
func wayFor(p *corev1.Pod, moves []placement.Move, movable map[string]mover, c *picture) (way preemption, ok bool) {
	way.pod = p
	var uids, workloads []string
	for _, m := range moves {
		v, may := movable[m.Pod]
		if m.For != string(p.UID) || !may || slices.Contains(workloads, v.workload) {
			return preemption{}, false
		}
		uids, workloads = append(uids, m.Pod), append(workloads, v.workload)
		way.host, way.sets = m.From, append(way.sets, v.set)
	}
	way.victims = c.names(uids)
	return way, len(uids) > 0 && len(way.victims) == len(uids)
}
