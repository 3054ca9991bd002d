package placement

import (
	"cmp"
	"slices"
	"strconv"
)

// spec is what a pod asks for; pods with equal demands share one. Together with its kind it is a shape, and what one pod
// of a shape was refused for, all are.
type spec struct {
	cpu, memory, disk, pods int64
	extended                []extra
	ports                   []HostPort
	static                  *static
	likes                   []int32  // preferred node affinity by host; nil: none
	with                    []*group // required pod affinity
	apart                   []*group // required anti-affinity
	near                    []preference
	hard, soft              []constraint
	leaving                 bool
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

// kind is what the selectors of others see in a pod: pods that the same selectors choose are of one kind.
type kind struct {
	selectors []int32 // ascending
	groups    []*group
	ledgers   []*ledger
}

func (k *kind) has(s *selector) bool {
	_, found := slices.BinarySearch(k.selectors, s.id)
	return found
}

type shape struct {
	*spec
	kind *kind

	failed  bool
	version int // of what could change a failure, when it failed
	pending *Pending
}

// spec returns the demands of p. Of a claimed pod only what others feel matters: what it uses, whom it keeps away and whom
// it draws near.
func (w *world) spec(p *Pod) *spec {
	if p.Host != "" {
		p = &Pod{Namespace: p.Namespace, Requests: p.Requests, AntiAffinity: p.AntiAffinity, PrefersNear: p.PrefersNear,
			PrefersApart: p.PrefersApart, Ports: p.Ports, Leaving: p.Leaving, Hosts: []string{}}
	}
	var k key
	k.demands(p)
	if s := w.specs[k.s()]; s != nil {
		return s
	}
	r := &p.Requests
	s := &spec{cpu: r.CPU, memory: r.Memory, disk: r.Disk, pods: max(r.Pods, 1), ports: p.Ports, leaving: p.Leaving}
	w.specs[k.s()] = s
	for _, e := range r.Extended {
		s.extended = append(s.extended, extra{w.extendedIndex(e.Name), e.Name, e.Value})
	}
	s.static = w.static(p)
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

func (w *world) likes(terms []WeightedTerm) []int32 {
	if len(terms) == 0 {
		return nil
	}
	out := make([]int32, len(w.hosts))
	for h := range w.hosts {
		for i := range terms {
			if w.accepts(&terms[i].Term, int32(h)) {
				out[h] += int32(terms[i].Weight)
			}
		}
	}
	return out
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
	for i := range p.Spread {
		s := &p.Spread[i]
		if s.Hard != hard {
			continue
		}
		sel := w.selector(p.Namespace, []PodTerm{{Match: s.Match, MatchNothing: s.MatchNothing}})
		out = append(out, constraint{w.ledger(p, s, st, sel, keys), sel, s.MaxSkew, s.MinDomains})
	}
	return out
}

// ledger counts only hosts that have every topology label of the pod and that the constraint's policies include.
func (w *world) ledger(p *Pod, s *Spread, st *static, sel *selector, keys []string) *ledger {
	var k key
	k.number(int64(sel.id)).string(s.Topology).strings(keys).flag(s.IgnoreAffinity).flag(s.HonorTaints)
	if !s.IgnoreAffinity {
		k.labels(p.Selector).terms(p.Required)
	}
	if s.HonorTaints {
		k.tolerations(p.Tolerations)
	}
	if l := w.ledgers[k.s()]; l != nil {
		return l
	}
	eligible := make([]bool, len(w.hosts))
	for h := range eligible {
		id := int32(h)
		eligible[h] = (s.IgnoreAffinity || w.chosen(&st.rules, id)) && (!s.HonorTaints || w.tolerable(st, id))
		for _, t := range keys {
			eligible[h] = eligible[h] && w.topology(t).domain[h] >= 0
		}
	}
	l := newLedger(w.topology(s.Topology), eligible)
	w.ledgers[k.s()] = l
	sel.ledgers = append(sel.ledgers, l)
	return l
}

func (w *world) tolerable(st *static, h int32) bool {
	return st.bears[w.taintSet[h]] && (!w.hosts[h].Cordoned || st.rules.cordoned)
}

// selector returns the one that chooses the pods that meet all terms, as seen from a namespace.
func (w *world) selector(namespace string, terms []PodTerm) *selector {
	var k key
	parts := make([]part, len(terms))
	for i := range terms {
		t := &terms[i]
		parts[i] = part{all: t.AllNamespaces, namespaces: t.Namespaces, match: t.Match, nothing: t.MatchNothing}
		if len(t.Namespaces) == 0 {
			parts[i].namespaces = []string{namespace}
		}
		k.flag(t.AllNamespaces).flag(t.MatchNothing).strings(parts[i].namespaces).requirements(t.Match)
	}
	s := w.selectors[k.s()]
	if s == nil {
		s = &selector{id: int32(len(w.inOrder)), parts: parts}
		w.selectors[k.s()] = s
		w.inOrder = append(w.inOrder, s)
	}
	return s
}

// selectIndex finds the selectors that choose a pod without asking each: by one label that the selector demands.
type selectIndex struct {
	by    map[Label][]*selector
	rest  []*selector
	kinds map[string]*kind // by namespace and labels
	same  map[string]*kind // by selectors
}

// index must be called when all specs are known and before the first kind.
func (w *world) index() {
	x := selectIndex{by: map[Label][]*selector{}, kinds: map[string]*kind{}, same: map[string]*kind{}}
	for _, s := range w.inOrder {
		r := s.handle()
		if r == nil {
			x.rest = append(x.rest, s)
			continue
		}
		values := slices.Clone(r.Values)
		slices.Sort(values)
		for _, v := range slices.Compact(values) {
			x.by[Label{r.Key, v}] = append(x.by[Label{r.Key, v}], s)
		}
	}
	w.selectIndex = x
}

func (w *world) kind(p *Pod) *kind {
	x := &w.selectIndex
	labels := labelSet(slices.Clone(p.Labels))
	slices.SortFunc(labels, func(a, b Label) int { return cmp.Compare(a.Key, b.Key) })
	var k key
	k.string(p.Namespace).labels(labels)
	if known := x.kinds[k.s()]; known != nil {
		return known
	}
	var ids []int32
	ask := func(ss []*selector) {
		for _, s := range ss {
			if s.selects(p.Namespace, labels) {
				ids = append(ids, s.id)
			}
		}
	}
	ask(x.rest)
	for _, l := range labels {
		ask(x.by[l])
	}
	slices.Sort(ids)
	made := w.sameKind(ids)
	x.kinds[k.s()] = made
	return made
}

func (w *world) sameKind(ids []int32) *kind {
	var k key
	for _, id := range ids {
		k.number(int64(id))
	}
	known := w.selectIndex.same[k.s()]
	if known == nil {
		known = &kind{selectors: ids}
		for _, id := range ids {
			known.groups = append(known.groups, w.inOrder[id].groups...)
			known.ledgers = append(known.ledgers, w.inOrder[id].ledgers...)
		}
		w.selectIndex.same[k.s()] = known
	}
	return known
}

// key spells values so that different ones are spelled differently: strings and lists carry their length.
type key struct{ b []byte }

func (k *key) s() string { return string(k.b) }

func (k *key) number(n int64) *key {
	k.b = append(strconv.AppendInt(k.b, n, 36), ' ')
	return k
}

func (k *key) flag(f bool) *key {
	if f {
		return k.number(1)
	}
	return k.number(0)
}

func (k *key) string(s string) *key {
	k.number(int64(len(s)))
	k.b = append(k.b, s...)
	return k
}

func (k *key) strings(ss []string) *key {
	k.flag(ss == nil).number(int64(len(ss)))
	for _, s := range ss {
		k.string(s)
	}
	return k
}

func (k *key) labels(ls []Label) *key {
	k.number(int64(len(ls)))
	for i := range ls {
		k.string(ls[i].Key).string(ls[i].Value)
	}
	return k
}

func (k *key) requirements(rs []Requirement) *key {
	k.number(int64(len(rs)))
	for i := range rs {
		k.string(rs[i].Key).number(int64(rs[i].Op)).strings(rs[i].Values)
	}
	return k
}

func (k *key) terms(ts []Term) *key {
	k.number(int64(len(ts)))
	for i := range ts {
		k.requirements(ts[i].Fields).requirements(ts[i].Labels)
	}
	return k
}

func (k *key) tolerations(ts []Toleration) *key {
	k.number(int64(len(ts)))
	for i := range ts {
		t := &ts[i]
		k.string(t.Key).string(t.Value).flag(t.Exists).flag(t.AnyEffect).number(int64(t.Effect))
	}
	return k
}

func (k *key) podTerms(ts []PodTerm) *key {
	k.number(int64(len(ts)))
	for i := range ts {
		t := &ts[i]
		k.string(t.Topology).strings(t.Namespaces).flag(t.AllNamespaces).flag(t.MatchNothing).number(t.Weight).requirements(t.Match)
	}
	return k
}

func (k *key) demands(p *Pod) *key {
	r := &p.Requests
	k.number(r.CPU).number(r.Memory).number(r.Disk).number(r.Pods).flag(p.Leaving).number(int64(len(r.Extended)))
	for _, e := range r.Extended {
		k.string(e.Name).number(e.Value)
	}
	k.number(int64(len(p.Ports)))
	for i := range p.Ports {
		k.string(p.Ports[i].IP).string(p.Ports[i].Protocol).number(int64(p.Ports[i].Port))
	}
	k.labels(p.Selector).terms(p.Required).tolerations(p.Tolerations).strings(p.Hosts)
	k.number(int64(len(p.Preferred)))
	for i := range p.Preferred {
		k.number(p.Preferred[i].Weight).requirements(p.Preferred[i].Fields).requirements(p.Preferred[i].Labels)
	}
	k.podTerms(p.Affinity).podTerms(p.AntiAffinity).podTerms(p.PrefersNear).podTerms(p.PrefersApart)
	k.number(int64(len(p.Spread)))
	for i := range p.Spread {
		s := &p.Spread[i]
		k.string(s.Topology).number(s.MaxSkew).flag(s.Hard).number(s.MinDomains).requirements(s.Match)
		k.flag(s.MatchNothing).flag(s.IgnoreAffinity).flag(s.HonorTaints)
	}
	if len(p.Affinity)+len(p.AntiAffinity)+len(p.PrefersNear)+len(p.PrefersApart)+len(p.Spread) > 0 {
		k.string(p.Namespace)
	}
	return k
}
