package placement

import (
	"cmp"
	"math/bits"
	"slices"
)

// decide answers for every pod that waits. Pods of higher priority are decided first; among equals those with the fewest
// possible hosts, then the largest, then by hash. A pod that only waits for the company of another, or for a spread to
// even out, is tried again when that has changed.
func (w *world) decide() Plan {
	w.tidy()
	w.line()
	w.weighScarcity()
	w.plan++
	w.moves, w.repairs, w.exchanges = 0, 256+len(w.queue)/2, exchangeTries
	for _, b := range w.budgets {
		b.left = b.view.Allowed
	}
	var plan Plan
	if n := len(w.queue); n > 0 {
		plan.Binds = make([]Bind, 0, n)
		w.others = make([]string, 0, min(n*(w.want-1), 1<<20))
		w.fresh = slices.Grow(w.fresh, n)
	}
	for progress := true; progress; {
		progress = false
		w.unreserve()
		left := w.queue[:0]
		for _, i := range w.queue {
			if w.place(i, &plan) || w.makeRoom(i, &plan) {
				progress = true
				continue
			}
			left = append(left, i)
		}
		w.queue = left
		progress = progress || w.exchangeAny(&plan)
	}
	if w.rebalance(&plan) {
		w.placeAgain(&plan)
	}
	plan.Pending = w.pending()
	w.preemptFor(w.queue, &plan)
	w.unreserve()
	w.dismiss()
	plan.Binds = slices.DeleteFunc(plan.Binds, func(b Bind) bool { return b.Pod == "" })
	for _, i := range w.fresh {
		w.pods[i].bound = -1
	}
	w.fresh = w.fresh[:0]
	return plan
}

// place binds a pod to the best of its candidates; when it has none, to the best of the hosts that are a last resort.
func (w *world) place(i int32, plan *Plan) bool {
	r := &w.pods[i]
	s := w.shapeOf(r)
	if s.hopeless(w) {
		return false
	}
	cs := w.candidates(s, r.hash)
	if len(cs) == 0 && w.resorts > 0 {
		cs = w.lastCandidates(s, r.hash)
	}
	if len(cs) == 0 {
		s.fail(w)
		return false
	}
	w.rank(s, r.owner, cs)
	w.bind(i, cs[0].host, w.alternatives(cs), plan)
	return true
}

// placeAgain binds what waits to room that others have left for a newcomer.
func (w *world) placeAgain(plan *Plan) {
	for progress := true; progress; {
		progress = false
		w.unreserve()
		w.queue = slices.DeleteFunc(w.queue, func(i int32) bool {
			if w.place(i, plan) {
				progress = true
				return true
			}
			if w.awaitsRoom(i) {
				w.reserve(i)
			}
			return false
		})
	}
}

// lastCandidates are those among the hosts of last resort. What the search of others has learned about distances stays.
func (w *world) lastCandidates(s *shape, pod uint64) []candidate {
	reach, shared := s.reach, s.rates.reach
	w.desperate = true
	cs := w.candidates(s, pod)
	w.desperate, s.reach, s.rates.reach = false, reach, shared
	return cs
}

// makeRoom repairs for a pod that fits nowhere, and keeps the room that victims leave to it; true when it is bound.
func (w *world) makeRoom(i int32, plan *Plan) bool {
	s := w.shapeOf(&w.pods[i])
	if s.barren != [2]int{w.plan, w.stamp} && (len(w.fresh) > 0 || w.opts.Moves > 0) {
		if w.repair(i, plan) {
			return true
		}
		s.barren = [2]int{w.plan, w.stamp}
	}
	if w.awaitsRoom(i) {
		w.reserve(i)
	}
	return false
}

// preemptFor asks for room for those that are left when nothing else helps any more.
func (w *world) preemptFor(queue []int32, plan *Plan) {
	if !w.opts.Preempt {
		return
	}
	w.seatPromised()
	for _, i := range queue {
		s := w.shapeOf(&w.pods[i])
		if s.firm == [2]int{w.plan, w.stamp} || s.pod.NeverPreempts || w.awaitsRoom(i) {
			continue
		}
		if len(plan.Preemptions) == mostPreemptions {
			return
		}
		if !w.preempt(i, plan) {
			s.firm = [2]int{w.plan, w.stamp}
		}
	}
}

func (w *world) bind(i, h int32, others []string, plan *Plan) {
	r := &w.pods[i]
	plan.Binds = append(plan.Binds, Bind{r.uid, w.id[h], others})
	r.bound = int32(len(plan.Binds) - 1)
	r.claim, r.waits, r.nominated = w.id[h], false, ""
	w.fresh = append(w.fresh, i)
	w.settle(i, h)
}

// alternatives are the next best hosts. They lie in one long list, cut in pieces.
func (w *world) alternatives(cs []candidate) []string {
	cs = cs[1:min(len(cs), w.want)]
	if cap(w.others)-len(w.others) < len(cs) {
		w.others = make([]string, 0, 1<<16)
	}
	from := len(w.others)
	for i := range cs {
		w.others = append(w.others, w.id[cs[i].host])
	}
	return w.others[from:len(w.others):len(w.others)]
}

// tidy forgets what is no longer waiting or refused; only then may the records of dropped pods be used again.
func (w *world) tidy() {
	w.queue = slices.DeleteFunc(w.queue, func(i int32) bool { return !w.pods[i].waits })
	w.refused = slices.DeleteFunc(w.refused, func(i int32) bool { return w.pods[i].invalid == "" || w.pods[i].claim != "" })
	w.spare = append(w.spare, w.dead...)
	w.dead = w.dead[:0]
}

// line puts the queue in order: priority, then the power of two of the number of possible hosts, then that of the size.
func (w *world) line() {
	for _, i := range w.queue {
		r := &w.pods[i]
		room := uint64(bits.Len(uint(len(r.spec.static.hosts))))
		order := uint64(^uint32(r.spec.pod.Priority)^1<<31)<<32 | room<<26 | uint64(63-r.spec.size)<<20 | r.family()>>44
		w.sorted = w.sorted && order == r.order
		r.order = order
	}
	if w.sorted {
		return
	}
	places := slices.Grow(w.places[:0], len(w.queue))
	for _, i := range w.queue {
		r := &w.pods[i]
		places = append(places, queued{r.order, r.family(), r.hash, i})
	}
	slices.SortFunc(places, w.sooner)
	for n := range places {
		w.queue[n] = places[n].pod
	}
	w.places, w.sorted = places[:0], true
}

// queued is a pod's place in the queue, so that to sort it means to look at records only where hashes are equal.
type queued struct {
	order, family, hash uint64
	pod                 int32
}

func (w *world) sooner(a, b queued) int {
	switch {
	case a.order != b.order:
		return cmp.Compare(a.order, b.order)
	case a.family != b.family:
		return cmp.Compare(a.family, b.family)
	case a.hash != b.hash:
		return cmp.Compare(a.hash, b.hash)
	}
	return cmp.Compare(w.pods[a.pod].uid, w.pods[b.pod].uid)
}

// family is a hash that pods of one owner share.
func (r *record) family() uint64 {
	if r.owner == nil {
		return r.hash
	}
	return r.owner.hash
}

// hopeless says that a pod of this shape was refused everywhere and nothing has changed since that could help: hosts
// only get fuller until somebody leaves, but company comes and spreads even out.
func (s *shape) hopeless(w *world) bool { return s.failed && s.version == s.changes(w) }

func (s *shape) fail(w *world) { s.failed, s.version = true, s.changes(w) }

func (s *shape) changes(w *world) int {
	sum := w.relief
	for _, g := range s.with {
		sum += g.version
	}
	for i := range s.hard {
		sum += s.hard[i].ledger.version
	}
	return sum
}

// pending explains what is left, by the state at the end, so that every reason is true when it is read.
func (w *world) pending() []Pending {
	if len(w.queue)+len(w.refused) == 0 {
		return nil
	}
	out := make([]Pending, 0, len(w.queue)+len(w.refused))
	for _, i := range w.queue {
		s := w.shapeOf(&w.pods[i])
		if s.explained != w.stamp {
			s.pending, s.explained = w.explain(s), w.stamp
		}
		one := s.pending
		one.Pod = w.pods[i].uid
		out = append(out, one)
	}
	from := len(out)
	for _, i := range w.refused {
		out = append(out, Pending{Pod: w.pods[i].uid, Reasons: []Reason{{Text: reasonInvalid + w.pods[i].invalid}}})
	}
	slices.SortFunc(out[from:], func(a, b Pending) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Reasons[0].Text, b.Reasons[0].Text))
	})
	return slices.CompactFunc(out, func(a, b Pending) bool { return a.Hosts == 0 && b.Hosts == 0 && a.Pod == b.Pod })
}
