package placement

import (
	"cmp"
	"slices"
)

// Bounds of exchange: the hosts that lack something and those that have it left over, as many of either, and pods of a Plan
// for which it is tried.
const (
	exchangeHosts = 8
	exchangeTries = 256
)

// exchangeAny is for those that are left when neither a free host nor repair helps: then memory lies idle on hosts without
// cores, or cores on hosts without memory, and no pod can leave either kind because none has room for it. Two pods that change
// places even that out. True when somebody got a host.
func (w *world) exchangeAny(plan *Plan) (any bool) {
	if len(w.fresh) == 0 {
		return false
	}
	left := w.queue[:0]
	for _, i := range w.queue {
		if w.place(i, plan) || w.exchange(i, plan) {
			any = true
			continue
		}
		left = append(left, i)
	}
	w.queue = left
	return any
}

// exchange lets two pods that this Plan has just bound change places, so that one fits that fits nowhere; of the exchanges that
// do, one after which the most pods like it have room. Nobody else's place depends on either.
func (w *world) exchange(i int32, plan *Plan) bool {
	s := w.shapeOf(&w.pods[i])
	if s.jammed == [2]int{w.plan, w.stamp} || w.exchanges <= 0 {
		return false
	}
	w.exchanges--
	var best swap
	for _, lack := range []axis{byMemory, byCPU} {
		poor, rich := w.poor(i, lack), w.rich(s, lack)
		for _, p := range poor {
			for _, r := range rich {
				if x := w.swapFor(s, p, r, lack); w.better(&x, &best) {
					best = x
				}
			}
		}
	}
	if best.more == 0 || !w.swap(i, &best, plan) {
		s.jammed = [2]int{w.plan, w.stamp}
		return false
	}
	return true
}

// axis is the resource that is lacking; the other one is across.
type axis bool

const (
	byMemory axis = true
	byCPU    axis = false
)

func (x axis) along(cpu, memory int64) int64 {
	if x == byMemory {
		return memory
	}
	return cpu
}

// swap is two pods that may change places.
type swap struct {
	poor, rich int32 // hosts
	gives, has int32 // the pod on either
	more       int64 // 1 and how many more pods then fit on poor; 0: no swap
}

func (w *world) better(a, b *swap) bool {
	if a.more != b.more || a.more == 0 {
		return a.more > b.more
	}
	p, q := &w.pods[a.gives], &w.pods[b.gives]
	if a.gives == b.gives {
		p, q = &w.pods[a.has], &w.pods[b.has]
	}
	return w.earlier(p, q)
}

// poor lists hosts that lack nothing for pod i but one resource.
func (w *world) poor(i int32, lack axis) (out []int32) {
	s := w.shapeOf(&w.pods[i])
	for _, h := range w.nearlyFit(i) {
		f := &w.free[h]
		if len(out) < exchangeHosts && !w.last[h] && (!lack).along(s.cpu, s.memory) <= (!lack).along(f.cpu, f.memory) {
			out = append(out, h)
		}
	}
	return out
}

// rich lists those of the hosts that a shape may choose that have most of a resource left: where it may be, others may too.
func (w *world) rich(s *shape, of axis) []int32 {
	var out []int32
	before := func(a, b int32) int {
		f, g := &w.free[a], &w.free[b]
		return cmp.Or(cmp.Compare(of.along(g.cpu, g.memory), of.along(f.cpu, f.memory)), cmp.Compare(w.id[a], w.id[b]))
	}
	for _, h := range s.static.hosts {
		if w.last[h] || len(out) == exchangeHosts && before(h, out[len(out)-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(out, h, before)
		out = slices.Insert(out[:min(len(out), exchangeHosts-1)], min(at, exchangeHosts-1), h)
	}
	return out
}

// swapFor finds the best pair of pods on two hosts, by cpu and memory.
func (w *world) swapFor(s *shape, poor, rich int32, lack axis) (best swap) {
	if poor == rich {
		return best
	}
	f, g := &w.free[poor], &w.free[rich]
	spare, room := lack.along(f.cpu, f.memory)-lack.along(s.cpu, s.memory), lack.along(g.cpu, g.memory)
	across, aside := (!lack).along(f.cpu, f.memory)-(!lack).along(s.cpu, s.memory), (!lack).along(g.cpu, g.memory)
	one, other := max(lack.along(s.cpu, s.memory), 1), max((!lack).along(s.cpu, s.memory), 1)
	gives, has := w.swappable(poor, rich), w.swappable(rich, poor)
	for _, u := range gives {
		p := w.pods[u].spec
		for _, v := range has {
			q := w.pods[v].spec
			gain, cost := lack.along(p.cpu-q.cpu, p.memory-q.memory), (!lack).along(q.cpu-p.cpu, q.memory-p.memory)
			if gain > room || gain+spare < 0 || cost > across || aside+cost < 0 {
				continue
			}
			x := swap{poor, rich, u, v, 1 + min((gain+spare)/one, (across-cost)/other)}
			if w.better(&x, &best) {
				best = x
			}
		}
	}
	return best
}

// swappable lists the pods of host h that this Plan has bound and that but for resources may be on host to.
func (w *world) swappable(h, to int32) (out []int32) {
	for v := w.heads[h]; v >= 0; v = w.pods[v].next {
		q := &w.pods[v]
		if q.bound >= 0 && !q.leaving && w.movable(q, false) && w.refusesStatic(q.spec.static, to) == fine &&
			w.open(q.spec, to) && w.refusesTopology(w.shapeOf(q), to) == fine {
			out = append(out, v)
		}
	}
	return out
}

// swap makes two pods change places and binds pod i where that has made room, if all three really fit; else nothing changes.
func (w *world) swap(i int32, x *swap, plan *Plan) bool {
	stamp, relief := w.stamp, w.relief
	moves := []moved{{pod: x.gives, from: x.poor, to: x.rich}, {pod: x.has, from: x.rich, to: x.poor}}
	for _, m := range moves {
		w.unsettle(m.pod)
	}
	fit := true
	for _, m := range moves {
		r := &w.pods[m.pod]
		fit = fit && w.fits(r.spec, m.to) && w.open(r.spec, m.to) && w.refusesTopology(w.shapeOf(r), m.to) == fine
		w.settle(m.pod, m.to)
	}
	s := w.shapeOf(&w.pods[i])
	if !fit || !w.fits(s.spec, x.poor) || !w.open(s.spec, x.poor) || w.refusesTopology(s, x.poor) != fine {
		for _, m := range moves {
			w.shift(m.pod, m.from)
		}
		w.stamp, w.relief = stamp, relief
		return false
	}
	for _, m := range moves {
		w.book(m, w.pods[i].uid, plan)
	}
	w.bind(i, x.poor, nil, plan)
	return true
}
