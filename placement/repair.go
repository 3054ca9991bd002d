package placement

import (
	"cmp"
	"slices"
)

// Bounds of repair: hosts tried for a pod that fits nowhere, and pods moved away from one of them.
const (
	repairHosts   = 32
	repairVictims = 4
	repairTries   = 12
)

// repair makes room for a pod that fits nowhere by giving others another host: those that this Plan has just bound, at no
// cost, and when Options allow it pods that run, within the movement budget and every disruption budget. It looks at few
// hosts and moves few pods, each to a host where it fits as things are; where the fewest that run have to move is best.
func (w *world) repair(i int32, plan *Plan) bool {
	if w.repairs <= 0 {
		return false
	}
	w.repairs--
	best, least := int32(-1), w.opts.Moves-w.moves+1
	for _, h := range w.nearlyFit(i) {
		if best >= 0 && w.lastLast(best, h) < 0 {
			break
		}
		stamp, relief := w.stamp, w.relief
		moved, running, ok := w.clear(i, h, least-1)
		for _, m := range slices.Backward(moved) {
			w.shift(m.pod, m.from)
		}
		w.stamp, w.relief = stamp, relief // it is as it was
		if ok {
			best, least = h, running
		}
		if least <= 0 {
			break
		}
	}
	if best < 0 {
		return false
	}
	moved, _, _ := w.clear(i, best, least)
	for _, m := range moved {
		w.book(m, w.pods[i].uid, plan)
	}
	w.bind(i, best, nil, plan)
	return true
}

type moved struct {
	pod, from, to int32
	others        []string
}

// nearlyFit lists hosts that lack nothing but resources, those that lack least first, the last resorts last.
func (w *world) nearlyFit(i int32) []int32 {
	type near struct {
		host    int32
		missing int64
	}
	s := w.shapeOf(&w.pods[i])
	var all []near
	for _, h := range s.static.hosts {
		t, f := &w.total[h], &w.free[h]
		if s.cpu > t.cpu || s.memory > t.memory || s.pods > f.pods || s.disk > f.disk && s.disk > 0 || len(s.extended) > 0 && !w.fitsExtended(s.spec, h) ||
			!w.open(s.spec, h) || w.refusesTopology(s, h) != fine {
			continue
		}
		missing := share(max(s.cpu-f.cpu, 0), s.cpu) + share(max(s.memory-f.memory, 0), s.memory)
		all = append(all, near{h, missing})
	}
	slices.SortFunc(all, func(a, b near) int {
		return cmp.Or(w.lastLast(a.host, b.host), cmp.Compare(a.missing, b.missing), cmp.Compare(w.id[a.host], w.id[b.host]))
	})
	var out []int32
	for _, x := range all[:min(len(all), repairHosts)] {
		out = append(out, x.host)
	}
	return out
}

// clear moves pods off host h, at most so many that run, until pod i fits, or gives up; what it has moved is returned
// either way, and how many of them ran.
func (w *world) clear(i, h int32, most int) (done []moved, running int, ok bool) {
	s := w.shapeOf(&w.pods[i])
	tried := w.tried[:0]
	for len(done) < repairVictims && len(tried) < repairTries && !w.fits(s.spec, h) {
		v := w.victim(i, h, tried, running < most)
		if v < 0 {
			break
		}
		tried = append(tried, v)
		fresh := w.pods[v].bound >= 0
		w.unsettle(v)
		cs := w.candidatesBut(v, h)
		if len(cs) == 0 {
			w.settle(v, h)
			continue
		}
		w.settle(v, cs[0].host)
		done = append(done, moved{v, h, cs[0].host, w.alternatives(cs)})
		if !fresh {
			w.pods[v].disrupt(1)
			running++
		}
	}
	w.tried = tried
	return done, running, w.fits(s.spec, h) && w.refusesTopology(s, h) == fine
}

// candidatesBut ranks the hosts other than h for a pod that is on none.
func (w *world) candidatesBut(v, h int32) []candidate {
	r := &w.pods[v]
	cs := slices.DeleteFunc(w.candidates(w.shapeOf(r), r.hash), func(c candidate) bool { return c.host == h })
	if len(cs) > 0 {
		w.rank(w.shapeOf(r), r.owner, cs)
	}
	return cs
}

// victim chooses the smallest pod that makes enough room, else the largest that is smaller than what is missing.
func (w *world) victim(i, h int32, tried []int32, running bool) int32 {
	r, free := &w.pods[i], &w.free[h]
	best, least := int32(-1), int64(0)
	for v := w.heads[h]; v >= 0; v = w.pods[v].next {
		q := &w.pods[v]
		if q.bound < 0 && q.spec.pod.Priority > r.spec.pod.Priority || q.leaving || q.spec == r.spec || slices.Contains(tried, v) || !w.movable(q, running) {
			continue
		}
		enough := r.spec.cpu <= free.cpu+q.spec.cpu && r.spec.memory <= free.memory+q.spec.memory
		cost := size(q.spec.cpu, q.spec.memory)
		if !enough {
			cost = 1<<61 - cost
		}
		if q.bound < 0 {
			cost += 1 << 60
		}
		if best < 0 || cost < least || cost == least && w.earlier(q, &w.pods[best]) {
			best, least = v, cost
		}
	}
	return best
}

func (w *world) earlier(a, b *record) bool {
	return a.hash < b.hash || a.hash == b.hash && a.uid < b.uid
}

// movable tells whether nobody counts on the pod being where it is: no required company and no hard spread, and for one
// that runs, that somebody would start it again, this Plan has not moved it already and every budget allows it to go.
func (w *world) movable(q *record, running bool) bool {
	if q.bound < 0 && (!running || q.owner == nil || q.spec.ports != nil || q.moved == w.plan || !q.disruptable()) {
		return false
	}
	if len(q.spec.hard)+len(q.spec.with) > 0 {
		return false
	}
	for _, s := range q.set.kind.selectors {
		for _, l := range s.ledgers {
			if l.watchers > 0 {
				return false
			}
		}
		for _, g := range s.groups {
			if g.watchers > 0 {
				return false
			}
		}
	}
	return true
}

// shift puts a pod back to where it was.
func (w *world) shift(v, h int32) {
	w.unsettle(v)
	w.settle(v, h)
	if w.pods[v].bound < 0 {
		w.pods[v].disrupt(-1)
	}
}

// book writes a move into the Plan: a pod bound by it is bound again, now, to the other host.
func (w *world) book(m moved, reason string, plan *Plan) {
	r := &w.pods[m.pod]
	r.claim = w.id[m.to]
	if r.bound < 0 {
		plan.Moves = append(plan.Moves, Move{r.uid, w.id[m.from], w.id[m.to], reason})
		w.moves++
		r.moved = w.plan
		return
	}
	plan.Binds[r.bound].Pod = "" // taken out at the end
	plan.Binds = append(plan.Binds, Bind{r.uid, r.claim, m.others})
	r.bound = int32(len(plan.Binds) - 1)
}

func (w *world) fitsExtended(s *spec, h int32) bool {
	for i := range s.extended {
		if e := &s.extended[i]; e.value > 0 && e.value > w.extra[e.index][h] {
			return false
		}
	}
	return true
}
