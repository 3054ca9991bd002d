package placement

import (
	"cmp"
	"slices"
)

// preemptHosts bounds how many hosts are looked at for one pod.
const preemptHosts = 64

// mostPreemptions bounds how many a Plan holds.
const mostPreemptions = 64

// preempt asks pods of lower priority to leave one host for a pod that fits nowhere. The pod is nominated: until they are
// gone its share of the host is kept from pods of lower or equal priority that are decided after it. Unlike
// kube-scheduler it never breaks a disruption budget. Of several hosts the one with the least highest priority of a
// victim is chosen, then the one with the fewest victims, then the one nearest to the pod. Where the victims of an earlier
// pod leave room enough nobody else has to go.
func (w *world) preempt(i int32, plan *Plan) bool {
	if h := w.leftOver(i); h >= 0 {
		w.nominate(i, h, nil, plan)
		return true
	}
	if !w.ranks.below(w.pods[i].spec.pod.Priority) {
		return false
	}
	var best []int32
	bestHost := int32(-1)
	for n, h := range w.preemptible(i) {
		if n == preemptHosts || bestHost >= 0 && w.lastLast(bestHost, h) < 0 {
			break
		}
		if victims := w.victims(i, h); len(victims) > 0 && (bestHost < 0 || w.milder(victims, best)) {
			best, bestHost = victims, h
		}
	}
	if bestHost < 0 {
		return false
	}
	w.nominate(i, bestHost, best, plan)
	return true
}

// nominate lets the pod take the place of its victims on host h until the Plan is made, so that those which preempt after it
// count neither on the room that it will have nor on a victim twice, and see its ports and whom it must be apart from.
func (w *world) nominate(i, h int32, victims []int32, plan *Plan) {
	x := Preemption{Pod: w.pods[i].uid, Host: w.id[h]}
	for _, v := range victims {
		x.Victims = append(x.Victims, w.pods[v].uid)
		w.pods[v].disrupt(1)
		w.unsettle(v)
	}
	w.doomed = append(w.doomed, victims...)
	w.settle(i, h)
	w.seated = append(w.seated, i)
	w.pods[i].nominated = x.Host
	plan.Preemptions = append(plan.Preemptions, x)
}

// leftOver finds the nearest host where a pod fits once the victims that this Plan already has are gone; −1: none. The next Plan
// must see it wait for them too (awaitsRoom), so one of them is of no higher priority.
func (w *world) leftOver(i int32) int32 {
	r := &w.pods[i]
	best := int32(-1)
	for _, v := range w.doomed {
		q := &w.pods[v]
		h := w.byID[q.claim]
		if h == best || q.spec.pod.Priority > r.spec.pod.Priority || w.refusesStatic(r.spec.static, h) != fine || !w.feasible(w.shapeOf(r), h) {
			continue
		}
		if best < 0 || cmp.Or(w.lastLast(h, best), cmp.Compare(w.distance(r, h), w.distance(r, best)), cmp.Compare(w.id[h], w.id[best])) < 0 {
			best = h
		}
	}
	return best
}

// preemptible lists the hosts on which pods of lower priority use what is missing, nearest first, the last resorts last.
func (w *world) preemptible(i int32) []int32 {
	r := &w.pods[i]
	lot := lotOf(r.hash)
	var out []candidate
	for _, h := range r.spec.static.hosts {
		need := w.free[h]
		lower := false
		for v := w.heads[h]; v >= 0; v = w.pods[v].next {
			if q := &w.pods[v]; q.spec.pod.Priority < r.spec.pod.Priority && w.goes(q) {
				need = amounts{need.cpu + q.spec.cpu, need.memory + q.spec.memory, need.disk + q.spec.disk, need.pods + q.spec.pods}
				lower = true
			}
		}
		n := &r.spec.need
		if lower && n.cpu <= need.cpu && n.memory <= need.memory && n.disk <= need.disk && n.pods <= need.pods {
			hash := lot.meet(w.key[h])
			out = append(out, candidate{host: h, distance: w.logs.negLog2(hash) >> 4 * w.inverse[h]})
		}
	}
	slices.SortFunc(out, func(a, b candidate) int {
		return cmp.Or(w.lastLast(a.host, b.host), cmp.Compare(a.distance, b.distance), cmp.Compare(w.id[a.host], w.id[b.host]))
	})
	hosts := make([]int32, len(out))
	for n := range out {
		hosts[n] = out[n].host
	}
	return hosts
}

// victims takes all that may be taken off host h, and if the pod fits then puts back as many as possible, those of high
// priority first. The world is left as it was.
func (w *world) victims(i, h int32) (out []int32) {
	defer func(stamp, relief int) { w.stamp, w.relief = stamp, relief }(w.stamp, w.relief)
	r := &w.pods[i]
	var off []int32
	for v := w.heads[h]; v >= 0; v = w.pods[v].next {
		if q := &w.pods[v]; q.spec.pod.Priority < r.spec.pod.Priority && w.goes(q) {
			off = append(off, v)
		}
	}
	slices.SortFunc(off, func(a, b int32) int {
		x, y := &w.pods[a], &w.pods[b]
		return cmp.Or(cmp.Compare(y.spec.pod.Priority, x.spec.pod.Priority), cmp.Compare(size(y.spec.cpu, y.spec.memory), size(x.spec.cpu, x.spec.memory)),
			cmp.Compare(x.hash, y.hash), cmp.Compare(x.uid, y.uid))
	})
	taken := off[:0:0]
	for n := len(off) - 1; n >= 0; n-- { // least priority first, so that budgets are spent on them
		if q := &w.pods[off[n]]; q.disruptable() {
			q.disrupt(1)
			taken = append(taken, off[n])
			w.unsettle(off[n])
		}
	}
	if w.feasible(w.shapeOf(r), h) {
		for n := len(taken) - 1; n >= 0; n-- {
			w.settle(taken[n], h)
			if w.feasible(w.shapeOf(r), h) {
				w.pods[taken[n]].disrupt(-1)
				taken[n] = -1
				continue
			}
			w.unsettle(taken[n])
			out = append(out, taken[n])
		}
	} else {
		for _, v := range taken {
			w.settle(v, h)
			w.pods[v].disrupt(-1)
		}
		return nil
	}
	for _, v := range out {
		w.settle(v, h)
		w.pods[v].disrupt(-1)
	}
	slices.Reverse(out)
	return out
}

func (w *world) feasible(s *shape, h int32) bool {
	return w.fits(s.spec, h) && w.open(s.spec, h) && w.refusesTopology(s, h) == fine
}

// milder compares two lists of victims, least priority first.
func (w *world) milder(a, b []int32) bool {
	x, y := w.pods[a[len(a)-1]].spec.pod.Priority, w.pods[b[len(b)-1]].spec.pod.Priority
	return x < y || x == y && len(a) < len(b)
}

// awaitsRoom tells whether pods of no higher priority are still leaving the host that the pod is nominated for: its victims, or
// those that make way for it.
func (w *world) awaitsRoom(i int32) bool {
	r := &w.pods[i]
	h, here := w.byID[r.nominated]
	if r.nominated == "" || !here || w.refusesStatic(r.spec.static, h) != fine {
		return false
	}
	for v := w.heads[h]; v >= 0; v = w.pods[v].next {
		if q := &w.pods[v]; q.leaving && q.spec.pod.Priority <= r.spec.pod.Priority {
			return true
		}
	}
	return false
}

// reserve keeps the share of nominated pods that wait from those decided after them; the end of the Plan frees it.
func (w *world) reserve(i int32) {
	r := &w.pods[i]
	if h, here := w.byID[r.nominated]; here && !r.reserved {
		r.reserved = true
		w.use(r.spec, h)
		w.stamp++
		w.reserved = append(w.reserved, reservation{i, h})
	}
}

// reservation is the share of a host that is kept for a pod, which may meanwhile have been bound elsewhere.
type reservation struct{ pod, host int32 }

// seatPromised seats those that wait for the victims of earlier Plans as well. Only now: as long as pods are bound nobody may count
// on the company of a pod that is not there.
func (w *world) seatPromised() {
	promised := w.reserved
	w.unreserve()
	for _, r := range promised {
		w.settle(r.pod, r.host)
		w.seated = append(w.seated, r.pod)
	}
}

// dismiss makes the victims of the Plan leave and takes those off again that were seated in their place: until the victims are
// gone they hold what they have.
func (w *world) dismiss() {
	for _, i := range w.seated {
		w.unsettle(i)
	}
	for _, v := range w.doomed {
		r := &w.pods[v]
		r.leaving = true
		w.settle(v, w.byID[r.claim])
	}
	w.seated, w.doomed = w.seated[:0], w.doomed[:0]
}

func (w *world) unreserve() {
	for _, r := range w.reserved {
		w.pods[r.pod].reserved = false
		w.recount(r.host)
		w.stamp++
		w.relief++
	}
	w.reserved = w.reserved[:0]
}

// goes tells whether the pod can be a victim: it runs, is not leaving anyway, and this Plan has not moved it.
func (w *world) goes(r *record) bool {
	return r.bound < 0 && !r.waits && !r.leaving && r.moved != w.plan
}
