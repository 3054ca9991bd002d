package placement

import "slices"

// static is what does not depend on pods: which hosts a pod may choose by cordon, readiness, taints, selector, node
// affinity and volumes. Pods that ask for the same share it.
type static struct {
	rules  nodeRules
	names  []string // hosts worth asking, by ID or name; nil: all
	pinned bool     // names count
	hosts  []int32  // those that it may choose, ascending
	bits   matrix   // the same as bits in one row, unless pinned
	soft   []int32  // untolerated PreferNoSchedule taints by taint set
	picky  bool     // soft has one that is not 0
	bears  []bool   // by taint set: its hard taints are tolerated
	demand int64    // size of all pods that have it
	sign   uint64   // keys of hosts, xored: which set it is, in whatever order
}

type nodeRules struct {
	selector    []Label
	required    []Term
	tolerations []Toleration
	volumes     []string
	cordoned    bool // tolerates cordoned hosts
}

var unschedulable = Taint{Key: "node.kubernetes.io/unschedulable", Effect: NoSchedule}

func (w *world) static(p *Pod) *static {
	var d digest
	d.labels(p.Selector)
	d.terms(p.Required)
	d.tolerations(p.Tolerations)
	d.strings(p.Hosts)
	for _, st := range w.statics[d] {
		if st.rules.same(p) {
			return st
		}
	}
	st := &static{rules: nodeRules{p.Selector, p.Required, p.Tolerations, p.Hosts, tolerated(p.Tolerations, &unschedulable)}}
	st.names, st.pinned = p.namedHosts()
	w.rules++
	for i := range w.taintSets {
		st.judge(w.taintSets[i])
	}
	w.statics[d] = append(w.statics[d], st)
	w.allStatics = append(w.allStatics, st)
	if !st.pinned {
		w.roaming = append(w.roaming, st)
		st.bits.rows = 1
		st.bits.widen(len(w.id))
		for h := range w.id {
			if w.refusesStatic(st, int32(h)) == fine {
				st.hosts = append(st.hosts, int32(h))
				st.bits.set(0, int32(h), true)
				st.sign ^= w.key[h]
			}
		}
		return st
	}
	for _, n := range st.names {
		w.pinned[n] = append(w.pinned[n], st)
		if h, here := w.byID[n]; here {
			w.judgeStatic(st, h)
		}
		for _, h := range w.byName[n] {
			w.judgeStatic(st, h)
		}
	}
	return st
}

func (r *nodeRules) same(p *Pod) bool {
	return slices.Equal(r.selector, p.Selector) && sameRequired(r.required, p.Required) &&
		slices.Equal(r.tolerations, p.Tolerations) && (r.volumes == nil) == (p.Hosts == nil) && slices.Equal(r.volumes, p.Hosts)
}

// judge looks at a new taint set, which must be the next one.
func (st *static) judge(taints []Taint) {
	bears, soft := true, int32(0)
	for i := range taints {
		switch t := &taints[i]; {
		case tolerated(st.rules.tolerations, t):
		case t.Effect == PreferNoSchedule:
			soft++
			st.picky = true
		default:
			bears = false
		}
	}
	st.bears, st.soft = append(st.bears, bears), append(st.soft, soft)
}

// judgeStatic notes whether the pod may choose host h.
func (w *world) judgeStatic(st *static, h int32) {
	at, had := slices.BinarySearch(st.hosts, h)
	switch has := w.refusesStatic(st, h) == fine; {
	case has && !had:
		st.hosts = slices.Insert(st.hosts, at, h)
		st.sign ^= w.key[h]
		st.note(h, true)
	case had && !has:
		st.hosts = slices.Delete(st.hosts, at, at+1)
		st.sign ^= w.key[h]
		st.note(h, false)
	}
}

func (st *static) note(h int32, is bool) {
	if !st.pinned {
		st.bits.set(0, h, is)
	}
}

// namedHosts returns the hosts that volumes or field terms name, when they do (as for the pods of a daemon set, where
// asking all would be quadratic).
func (p *Pod) namedHosts() (names []string, some bool) {
	if p.Hosts != nil {
		return p.Hosts, true
	}
	for i := range p.Required {
		at := slices.IndexFunc(p.Required[i].Fields, func(r Requirement) bool { return r.Op == In })
		if at < 0 {
			return nil, false
		}
		names = append(names, p.Required[i].Fields[at].Values...)
	}
	return names, p.Required != nil
}

// refusesStatic says why host h can never take the pod. Volumes come after resources in kube-scheduler's order.
func (w *world) refusesStatic(st *static, h int32) refusal {
	if why := w.refusesNode(st, h); why != fine {
		return why
	}
	if !w.holds(st, h) {
		return noVolume
	}
	return fine
}

func (w *world) refusesNode(st *static, h int32) refusal {
	switch {
	case w.id[h] == "":
		return nobody
	case w.barred[h] != "":
		return notReady
	case w.view[h].Cordoned && !st.rules.cordoned:
		return cordoned
	case !st.bears[w.taints[h]]:
		return tainted
	case !w.chosen(&st.rules, h):
		return unchosen
	}
	return fine
}

// chosen says whether node selector and required node affinity accept host h.
func (w *world) chosen(r *nodeRules, h int32) bool {
	for i := range r.selector {
		if value, has := valueOf(w.view[h].Labels, r.selector[i].Key); !has || value != r.selector[i].Value {
			return false
		}
	}
	for i := range r.required {
		if w.accepts(&r.required[i], h) {
			return true
		}
	}
	return r.required == nil
}

// accepts says whether host h meets the whole term; an empty term accepts no host.
func (w *world) accepts(t *Term, h int32) bool {
	if w.id[h] == "" {
		return false
	}
	for i := range t.Fields {
		if !t.Fields[i].meets(w.view[h].Name, true) {
			return false
		}
	}
	for i := range t.Labels {
		value, has := valueOf(w.view[h].Labels, t.Labels[i].Key)
		if !t.Labels[i].meets(value, has) {
			return false
		}
	}
	return len(t.Fields)+len(t.Labels) > 0
}

func (w *world) holds(st *static, h int32) bool {
	return st.rules.volumes == nil || slices.Contains(st.rules.volumes, w.id[h]) || slices.Contains(st.rules.volumes, w.view[h].Name)
}

// judgeHost brings everything that is kept by host up to date with the new description of host h, which has no pods now
// and had another name before.
func (w *world) judgeHost(h int32, names ...string) {
	w.judgeStatics(h, names...)
	for _, l := range w.allLikes {
		w.judgeLikes(l, h)
	}
	for _, t := range w.inOrderTopologies {
		w.locate(t, h)
	}
	for _, e := range w.allEligible {
		w.admit(e, h)
	}
}

// judgeStatics does so for what decides whether pods may choose it.
func (w *world) judgeStatics(h int32, names ...string) {
	w.rules++
	for _, st := range w.roaming {
		w.judgeStatic(st, h)
	}
	for _, n := range append(names, w.id[h], w.view[h].Name) {
		for _, st := range w.pinned[n] {
			w.judgeStatic(st, h)
		}
	}
}
