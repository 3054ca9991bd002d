package placement

import "slices"

// topology divides hosts into domains by one label; domain −1: the host has no such label.
type topology struct {
	key     string
	domain  []int32   // by host
	in      [][]int32 // hosts by domain
	byValue map[string]int32
	domains int
	groups  []*group
	ledgers []*ledger
}

func (w *world) topology(key string) *topology {
	if t := w.topologies[key]; t != nil {
		return t
	}
	t := &topology{key: key, domain: slices.Repeat([]int32{-1}, len(w.id)), byValue: map[string]int32{}}
	for h := range w.id {
		w.locate(t, int32(h))
	}
	w.topologies[key] = t
	w.inOrderTopologies = append(w.inOrderTopologies, t)
	return t
}

// locate finds the domain of host h.
func (w *world) locate(t *topology, h int32) {
	value, has := valueOf(w.view[h].Labels, t.key)
	if !has || w.id[h] == "" {
		t.move(h, -1)
		return
	}
	d, known := t.byValue[value]
	if !known {
		d = int32(t.domains)
		t.byValue[value] = d
		t.domains++
		t.in = append(t.in, nil)
		for _, g := range t.groups {
			g.widen(t.domains)
		}
		for _, l := range t.ledgers {
			l.counts, l.members = append(l.counts, 0), append(l.members, 0)
		}
	}
	t.move(h, d)
}

func (t *topology) move(h, d int32) {
	old := t.domain[h]
	if old == d {
		return
	}
	if old >= 0 {
		t.in[old] = slices.DeleteFunc(t.in[old], func(x int32) bool { return x == h })
	}
	if d >= 0 {
		t.in[d] = append(t.in[d], h)
	}
	t.domain[h] = d
}

// widen makes room for one more host in everything that is kept by host.
func (w *world) widen() {
	for _, t := range w.inOrderTopologies {
		t.domain = append(t.domain, -1)
	}
	for _, l := range w.allLikes {
		l.sum = append(l.sum, 0)
	}
	for _, r := range w.allRates {
		r.of = append(r.of, 0)
		r.above.widen(len(r.of))
	}
	w.sieve.table.widen(len(w.id))
	for _, st := range w.roaming {
		st.bits.widen(len(w.id))
	}
	for _, e := range w.allEligible {
		e.hosts = append(e.hosts, false)
	}
}

// group counts, per domain of a topology, the placed pods that a selector chooses, and those that want to be apart from
// or near to such pods. Every affinity term of every pod is a view of one group.
type group struct {
	topology *topology
	selector *selector
	chosen   []int32 // placed pods that the selector chooses
	apart    []int32 // placed pods that refuse to share the domain with such pods; nil: none yet
	pull     []int64 // summed preference weights of placed pods towards such pods; nil: none yet
	any      int32   // sum of chosen
	repels   int32   // sum of apart
	pulls    int32   // pods in pull
	watchers int     // pods that must be near such pods
	version  int     // rises with every rise of chosen
	came     trail   // of chosen
	drew     trail   // of pull
}

func (w *world) group(s *selector, topologyKey string) *group {
	for _, g := range s.groups {
		if g.topology.key == topologyKey {
			return g
		}
	}
	t := w.topology(topologyKey)
	g := &group{topology: t, selector: s, chosen: make([]int32, t.domains)}
	t.groups = append(t.groups, g)
	s.groups = append(s.groups, g)
	w.members(s, func(h int32, _ bool) {
		if d := t.domain[h]; d >= 0 {
			g.chosen[d]++
			g.any++
		}
	})
	return g
}

func (g *group) widen(domains int) {
	g.chosen = append(g.chosen, make([]int32, domains-len(g.chosen))...)
	if g.apart != nil {
		g.apart = append(g.apart, make([]int32, domains-len(g.apart))...)
	}
	if g.pull != nil {
		g.pull = append(g.pull, make([]int64, domains-len(g.pull))...)
	}
}

// members calls f for the host of every placed pod that the selector chooses.
func (w *world) members(s *selector, f func(h int32, leaving bool)) {
	for _, l := range s.sets {
		for i := l.pods; i >= 0 && l.placed > 0; i = w.pods[i].nextOfSet {
			if p := &w.pods[i]; p.host >= 0 {
				f(p.host, p.leaving)
			}
		}
	}
}

// eligible are the hosts that count for a topology spread: they have every topology label of the pod, and the
// constraint's policies include them.
type eligible struct {
	rules    *static
	affinity bool // only hosts that the pod may choose
	taints   bool // only hosts whose taints it tolerates
	keys     []string
	hosts    []bool
	ledgers  []*ledger
}

func (w *world) eligible(s *Spread, st *static, keys []string) *eligible {
	for _, e := range w.allEligible {
		if e.affinity == !s.IgnoreAffinity && e.taints == s.HonorTaints && slices.Equal(e.keys, keys) &&
			(!e.affinity || e.rules.rules.sameChoice(&st.rules)) && (!e.taints || slices.Equal(e.rules.rules.tolerations, st.rules.tolerations)) {
			return e
		}
	}
	e := &eligible{rules: st, affinity: !s.IgnoreAffinity, taints: s.HonorTaints, keys: keys, hosts: make([]bool, len(w.id))}
	for _, k := range keys {
		w.topology(k)
	}
	w.allEligible = append(w.allEligible, e)
	for h := range w.id {
		w.admit(e, int32(h))
	}
	return e
}

func (r *nodeRules) sameChoice(q *nodeRules) bool {
	return slices.Equal(r.selector, q.selector) && sameRequired(r.required, q.required)
}

// admit notes whether host h, which has no pods, counts.
func (w *world) admit(e *eligible, h int32) {
	for _, l := range e.ledgers {
		l.leave(h)
	}
	is := w.id[h] != "" && (!e.affinity || w.chosen(&e.rules.rules, h)) && (!e.taints || w.tolerable(e.rules, h))
	for _, k := range e.keys {
		is = is && w.topologies[k].domain[h] >= 0
	}
	e.hosts[h] = is
	for _, l := range e.ledgers {
		l.join(h)
	}
}

func (w *world) tolerable(st *static, h int32) bool {
	return st.bears[w.taints[h]] && (!w.view[h].Cordoned || st.rules.cordoned)
}
