package placement

import (
	"cmp"
	"slices"
)

// rebalance moves pods that run to hosts that joined: only pods to which the newcomer is nearer by rendezvous than the
// host that they have, or whose candidates all hosts are that they may choose; only while it is emptier than that host and
// than the mean, within the budget of the Plan and every disruption budget. So a newcomer ends with the share that it would
// have had from the start, and no pod moves elsewhere. True when any moved.
func (w *world) rebalance(plan *Plan) bool {
	if w.opts.Rebalance == Off {
		return false
	}
	before := len(plan.Moves)
	var joined []int32
	var used, all int64
	for h := range w.id {
		if w.id[h] == "" || w.barred[h] != "" {
			continue
		}
		u, t := w.fill(int32(h))
		used, all = used+u, all+t
		if w.view[h].Joined && !w.view[h].Cordoned && !w.last[h] {
			joined = append(joined, int32(h))
		}
	}
	slices.SortFunc(joined, func(a, b int32) int { return cmp.Compare(w.id[a], w.id[b]) })
	for _, h := range joined {
		_, size := w.fill(h)
		budget := int64(1)
		if w.opts.Rebalance == Eager {
			budget = max(1, share(size, all)*int64(len(w.byUID))/one/8)
		}
		w.draw(h, budget, share(used, all), plan)
	}
	return len(plan.Moves) > before
}

// fill is how much of a host is used, and its size, in millicores with memory counted as cores.
func (w *world) fill(h int32) (used, all int64) {
	t, f := &w.total[h], &w.free[h]
	return size(t.cpu-f.cpu, t.memory-f.memory), max(size(t.cpu, t.memory), 1)
}

// draw moves up to budget pods to host h, those first to which it is nearest.
func (w *world) draw(h int32, budget, mean int64, plan *Plan) {
	var found []candidate
	for i := range w.pods {
		r := &w.pods[i]
		if r.host < 0 || r.host == h || r.bound >= 0 || r.leaving || w.view[r.host].Joined {
			continue
		}
		if d := w.distance(r, h); d < w.distance(r, r.host) || len(r.spec.static.hosts) <= w.want {
			found = append(found, candidate{host: int32(i), distance: d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(w.pods[a.host].uid, w.pods[b.host].uid))
	})
	for _, c := range found {
		if used, all := w.fill(h); budget <= 0 || share(used, all) >= mean {
			return
		}
		if w.attract(c.host, h, plan) {
			budget--
		}
	}
}

func (w *world) distance(r *record, h int32) uint64 {
	l := lotOf(r.hash)
	return w.logs.negLog2(l.meet(w.key[h])) >> 4 * w.inverse[h]
}

// attract moves one pod to host h when it may go, fits there, and the host that it leaves is the fuller one.
func (w *world) attract(i, h int32, plan *Plan) bool {
	r := &w.pods[i]
	from := r.host
	if u, a := w.fill(from); !w.movable(r, true) || w.refusesStatic(r.spec.static, h) != fine || share(u, a) <= w.fillWith(r.spec, h) {
		return false
	}
	stamp, relief := w.stamp, w.relief
	w.unsettle(i)
	if !w.feasible(w.shapeOf(r), h) {
		w.settle(i, from)
		w.stamp, w.relief = stamp, relief
		return false
	}
	w.settle(i, h)
	r.claim, r.moved = w.id[h], w.plan
	r.disrupt(1)
	plan.Moves = append(plan.Moves, Move{Pod: r.uid, From: w.id[from], To: w.id[h]})
	return true
}

func (w *world) fillWith(s *spec, h int32) int64 {
	used, all := w.fill(h)
	return share(used+size(s.cpu, s.memory), all)
}
