package placement

import (
	"cmp"
	"slices"
	"strconv"
)

// selector chooses pods: those that meet every part. Most have one; the required affinities of a pod are judged
// together, because Kubernetes counts only pods that meet all of them.
type selector struct {
	id      int32
	parts   []part
	groups  []*group
	ledgers []*ledger
	budgets []*budget
	sets    []*labelset // that it chooses
}

type part struct {
	all        bool
	namespaces []string
	match      []Requirement
	nothing    bool
}

func (s *selector) selects(l *labelset) bool {
	for i := range s.parts {
		if !s.parts[i].selects(l) {
			return false
		}
	}
	return true
}

func (p *part) selects(l *labelset) bool {
	if p.nothing || !p.all && !slices.Contains(p.namespaces, l.namespace) {
		return false
	}
	for i := range p.match {
		value, has := valueOf(l.labels, p.match[i].Key)
		if !p.match[i].meets(value, has) {
			return false
		}
	}
	return true
}

// handle is a requirement by which the selector can be found from a pod's labels; nil when it has none.
func (s *selector) handle() *Requirement {
	for i := range s.parts {
		for j := range s.parts[i].match {
			if r := &s.parts[i].match[j]; r.Op == In && len(r.Values) > 0 {
				return r
			}
		}
	}
	return nil
}

// labelset is what selectors see in a pod: its namespace and labels, sorted by key.
type labelset struct {
	namespace string
	labels    []Label
	invalid   error
	kind      *kind
	pods      int32 // head of the list of pods that have it, −1: none
	placed    int   // of them
}

// kind is the set of selectors that choose a pod. Pods of one kind are alike to all others.
type kind struct{ selectors []*selector } // by id

func (k *kind) has(s *selector) bool {
	_, found := slices.BinarySearchFunc(k.selectors, s.id, func(x *selector, id int32) int { return cmp.Compare(x.id, id) })
	return found
}

// audience knows all selectors and label sets, and finds either from the other by one label that the selector demands,
// so that nobody has to ask all.
type audience struct {
	selectors map[digest][]*selector
	inOrder   []*selector
	byLabel   map[Label][]*selector
	rest      []*selector // that demand no label
	sets      map[digest][]*labelset
	setsBy    map[Label][]*labelset
	allSets   []*labelset
	lastSet   *labelset // that a pod had
	kinds     map[string]*kind
	none      *kind
	spelled   []byte
}

func newAudience() audience {
	return audience{selectors: map[digest][]*selector{}, byLabel: map[Label][]*selector{}, sets: map[digest][]*labelset{},
		setsBy: map[Label][]*labelset{}, kinds: map[string]*kind{}, none: &kind{}}
}

// selector returns the one that chooses the pods that meet all terms, as seen from a namespace.
func (w *world) selector(namespace string, terms []PodTerm) *selector {
	parts := make([]part, len(terms))
	var d digest
	for i := range terms {
		t := &terms[i]
		parts[i] = part{all: t.AllNamespaces, namespaces: t.Namespaces, match: t.Match, nothing: t.MatchNothing}
		if len(t.Namespaces) == 0 {
			parts[i].namespaces = []string{namespace}
		}
		d.strings(parts[i].namespaces)
		d.requirements(t.Match)
	}
	a := &w.audience
	for _, s := range a.selectors[d] {
		if slices.EqualFunc(s.parts, parts, samePart) {
			return s
		}
	}
	s := &selector{id: int32(len(a.inOrder)), parts: parts}
	a.selectors[d] = append(a.selectors[d], s)
	a.inOrder = append(a.inOrder, s)
	w.introduce(s)
	return s
}

func samePart(a, b part) bool {
	return a.all == b.all && a.nothing == b.nothing && slices.Equal(a.namespaces, b.namespaces) && sameMatch(a.match, b.match)
}

// introduce finds the pods that a new selector chooses.
func (w *world) introduce(s *selector) {
	a := &w.audience
	candidates := a.allSets
	if r := s.handle(); r == nil {
		a.rest = append(a.rest, s)
	} else {
		values := slices.Clone(r.Values)
		slices.Sort(values)
		candidates = nil
		for _, v := range slices.Compact(values) {
			l := Label{r.Key, v}
			a.byLabel[l] = append(a.byLabel[l], s)
			candidates = append(candidates, a.setsBy[l]...)
		}
	}
	for _, l := range candidates {
		if !s.selects(l) {
			continue
		}
		s.sets = append(s.sets, l)
		l.kind = a.kind(append(slices.Clone(l.kind.selectors), s))
	}
}

// labelset returns that of a pod.
func (w *world) labelset(p *Pod) *labelset {
	a := &w.audience
	if l := a.lastSet; l != nil && l.namespace == p.Namespace && sameLabels(l.labels, p.Labels) {
		return l
	}
	var d digest
	d.string(p.Namespace)
	for i := range p.Labels {
		var one digest
		one.string(p.Labels[i].Key)
		one.string(p.Labels[i].Value)
		d += one
	}
	for _, l := range a.sets[d] {
		if l.namespace == p.Namespace && sameLabels(l.labels, p.Labels) {
			a.lastSet = l
			return l
		}
	}
	l := &labelset{namespace: p.Namespace, labels: slices.Clone(p.Labels), kind: a.none, pods: -1, invalid: validLabels(p.Labels)}
	slices.SortFunc(l.labels, func(a, b Label) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value)) })
	a.sets[d] = append(a.sets[d], l)
	a.lastSet = l
	if l.invalid != nil {
		return l
	}
	a.allSets = append(a.allSets, l)
	var chosen []*selector
	ask := func(ss []*selector) {
		for _, s := range ss {
			if s.selects(l) {
				chosen = append(chosen, s)
				s.sets = append(s.sets, l)
			}
		}
	}
	ask(a.rest)
	for _, x := range l.labels {
		a.setsBy[x] = append(a.setsBy[x], l)
		ask(a.byLabel[x])
	}
	slices.SortFunc(chosen, func(a, b *selector) int { return cmp.Compare(a.id, b.id) })
	l.kind = a.kind(chosen)
	return l
}

// sameLabels compares labels in whatever order; none comes twice, or else the pod is invalid anyway.
func sameLabels(a, b []Label) bool {
	if len(a) != len(b) {
		return false
	}
	if slices.Equal(a, b) {
		return true
	}
	for i := range b {
		if !slices.Contains(a, b[i]) || !slices.Contains(b, a[i]) {
			return false
		}
	}
	return true
}

func valueOf(ls []Label, key string) (string, bool) {
	for i := range ls {
		if ls[i].Key == key {
			return ls[i].Value, true
		}
	}
	return "", false
}

func (a *audience) kind(selectors []*selector) *kind {
	if len(selectors) == 0 {
		return a.none
	}
	a.spelled = a.spelled[:0]
	for _, s := range selectors {
		a.spelled = append(strconv.AppendInt(a.spelled, int64(s.id), 36), ' ')
	}
	k := a.kinds[string(a.spelled)]
	if k == nil {
		k = &kind{selectors: selectors}
		a.kinds[string(a.spelled)] = k
	}
	return k
}
