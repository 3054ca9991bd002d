package placement

import (
	"math"
	"math/bits"
	"slices"
)

// spec is what a pod asks for; pods with equal demands share one. Together with its kind it is a shape, and what one pod
// of a shape was refused for, all are.
type spec struct {
	pod                     Pod // an example: only its demands
	invalid                 error
	cpu, memory, disk, pods int64
	need                    amounts // what must be free: a request of 0 needs nothing
	extended                []extra
	ports                   []HostPort
	blend                   int16
	size                    int // power of two of cpu and memory together
	static                  *static
	rates                   *rates
	likes                   *likes   // preferred node affinity; nil: none
	with                    []*group // required pod affinity
	apart                   []*group // required anti-affinity
	near                    []preference
	hard, soft              []constraint
	shapes                  []*shape
}

type extra struct {
	index int32
	name  string
	value int64
}

type preference struct {
	group  *group
	weight int64 // negative: rather apart
}

type constraint struct {
	ledger              *ledger
	selector            *selector
	maxSkew, minDomains int64
}

// likes is how much each host meets preferred node affinity.
type likes struct {
	terms []WeightedTerm
	sum   []int32 // by host
}

// shape is a spec with a kind.
type shape struct {
	*spec
	kind   *kind
	counts []bool // by hard constraint: whether its selector chooses the shape's own pods

	mood        int      // of the world, when these were found: groups of the kind that
	repel, pull []*group // have pods apart from its pods, or draw them or drive them off

	reach     uint64 // a distance within which the last pod's candidates were, 0: unknown; a guess that no choice depends on
	failed    bool
	version   int // of what could change a failure, when it failed
	explained int // the stamp of pending; 0: never
	pending   Pending
	barren    [2]int // the Plan and the stamp at which repair did not help
	jammed    [2]int // those at which no exchange did
	firm      [2]int // and those at which preemption did not
}

func (w *world) shape(s *spec, k *kind) *shape {
	for _, x := range s.shapes {
		if x.kind == k {
			return x
		}
	}
	x := &shape{spec: s, kind: k}
	for i := range s.hard {
		x.counts = append(x.counts, k.has(s.hard[i].selector))
	}
	s.shapes = append(s.shapes, x)
	return x
}

// spec returns the demands of p. Replicas mostly come one after the other.
func (w *world) spec(p *Pod) *spec {
	if s := w.lastSpec; s != nil && sameDemands(&s.pod, p) {
		return s
	}
	d := demands(p)
	for _, s := range w.specs[d] {
		if sameDemands(&s.pod, p) {
			w.lastSpec = s
			return s
		}
	}
	s := w.newSpec(p)
	w.specs[d] = append(w.specs[d], s)
	w.specCount++
	w.lastSpec = s
	return s
}

func (w *world) newSpec(p *Pod) *spec {
	r := &p.Requests
	s := &spec{cpu: r.CPU, memory: r.Memory, disk: r.Disk, pods: max(r.Pods, 1), ports: p.Ports, pod: *p, invalid: p.validate()}
	s.pod.UID, s.pod.Name, s.pod.Owner, s.pod.Labels = "", "", "", nil
	s.pod.Host, s.pod.Nominated, s.pod.Gated, s.pod.Leaving = "", "", false, false
	if s.invalid != nil {
		return s
	}
	s.need = amounts{need(s.cpu), need(s.memory), need(s.disk), s.pods}
	s.blend, s.size = w.logs.blend(s.cpu, s.memory), bits.Len64(uint64(size(s.cpu, s.memory)))
	for _, e := range r.Extended {
		s.extended = append(s.extended, extra{w.extendedIndex(e.Name), e.Name, e.Value})
	}
	s.static, s.rates = w.static(p), w.ratesOf(s.blend)
	s.likes = w.likes(p.Preferred)
	if len(p.Affinity) > 0 {
		all := w.selector(p.Namespace, p.Affinity)
		for i := range p.Affinity {
			s.with = append(s.with, w.group(all, p.Affinity[i].Topology))
		}
	}
	for i := range p.AntiAffinity {
		s.apart = append(s.apart, w.group(w.selector(p.Namespace, p.AntiAffinity[i:i+1]), p.AntiAffinity[i].Topology))
	}
	for i := range p.PrefersNear {
		t := p.PrefersNear[i : i+1]
		s.near = append(s.near, preference{w.group(w.selector(p.Namespace, t), t[0].Topology), t[0].Weight})
	}
	for i := range p.PrefersApart {
		t := p.PrefersApart[i : i+1]
		s.near = append(s.near, preference{w.group(w.selector(p.Namespace, t), t[0].Topology), -t[0].Weight})
	}
	s.hard, s.soft = w.constraints(p, s.static, true), w.constraints(p, s.static, false)
	return s
}

// watch notes that a pod more (or less) depends on what others are where.
func (s *spec) watch(n int) {
	if s.static == nil {
		return
	}
	s.static.demand += int64(n) * size(s.cpu, s.memory)
	for _, g := range s.with {
		g.watchers += n
	}
	for i := range s.hard {
		s.hard[i].ledger.watchers += n
	}
}

func need(n int64) int64 {
	if n == 0 {
		return math.MinInt64
	}
	return n
}

func (w *world) likes(terms []WeightedTerm) *likes {
	if len(terms) == 0 {
		return nil
	}
	for _, l := range w.allLikes {
		if slices.EqualFunc(l.terms, terms, sameWeighted) {
			return l
		}
	}
	l := &likes{terms: terms, sum: make([]int32, len(w.id))}
	w.allLikes = append(w.allLikes, l)
	for h := range w.id {
		w.judgeLikes(l, int32(h))
	}
	return l
}

func (w *world) judgeLikes(l *likes, h int32) {
	l.sum[h] = 0
	for i := range l.terms {
		if w.accepts(&l.terms[i].Term, h) {
			l.sum[h] += int32(l.terms[i].Weight)
		}
	}
}

func (w *world) constraints(p *Pod, st *static, hard bool) []constraint {
	var out []constraint
	var keys []string
	for i := range p.Spread {
		if p.Spread[i].Hard == hard {
			keys = append(keys, p.Spread[i].Topology)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for i := range p.Spread {
		s := &p.Spread[i]
		if s.Hard != hard {
			continue
		}
		sel := w.selector(p.Namespace, []PodTerm{{Match: s.Match, MatchNothing: s.MatchNothing}})
		out = append(out, constraint{w.ledger(s, st, sel, keys), sel, s.MaxSkew, s.MinDomains})
	}
	return out
}
