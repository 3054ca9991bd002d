package placement

import "slices"

// static is what never changes while pods are placed: which hosts a pod may choose by cordon, readiness, taints,
// selector, node affinity and volumes. Pods that ask for the same share it.
type static struct {
	rules nodeRules
	hosts []int32 // those that it may choose, ascending
	soft  []int32 // untolerated PreferNoSchedule taints by taint set; nil: none anywhere
	bears []bool  // by taint set: its hard taints are tolerated
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
	var k key
	k.labels(p.Selector).terms(p.Required).tolerations(p.Tolerations).strings(p.Hosts)
	if st := w.statics[k.s()]; st != nil {
		return st
	}
	st := &static{rules: nodeRules{p.Selector, p.Required, p.Tolerations, p.Hosts, tolerated(p.Tolerations, &unschedulable)}}
	w.statics[k.s()] = st
	for i := range w.taintSets {
		st.judge(w.taintSets[i])
	}
	if !slices.ContainsFunc(st.soft, func(n int32) bool { return n > 0 }) {
		st.soft = nil
	}
	for _, h := range w.pinned(p) {
		if w.refusesStatic(st, h) == "" {
			st.hosts = append(st.hosts, h)
		}
	}
	return st
}

func (st *static) judge(taints []Taint) {
	bears, soft := true, int32(0)
	for i := range taints {
		switch t := &taints[i]; {
		case tolerated(st.rules.tolerations, t):
		case t.Effect == PreferNoSchedule:
			soft++
		default:
			bears = false
		}
	}
	st.bears, st.soft = append(st.bears, bears), append(st.soft, soft)
}

// pinned returns the hosts worth asking, ascending: those that volumes or field terms name (as for the pods of a daemon
// set, where asking all would be quadratic), else all.
func (w *world) pinned(p *Pod) []int32 {
	named, some := p.namedHosts()
	if !some {
		all := make([]int32, len(w.hosts))
		for i := range all {
			all[i] = int32(i)
		}
		return all
	}
	var out []int32
	for _, n := range named {
		if h, ok := w.byID[n]; ok {
			out = append(out, h)
		}
		out = append(out, w.byName[n]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

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
	return names, len(p.Required) > 0
}

// refusesStatic says in kube-scheduler's words why host h can never take the pod, "" when it can. Volumes come after
// resources in kube-scheduler's order and are judged by holds.
func (w *world) refusesStatic(st *static, h int32) string {
	if why := w.refusesNode(st, h); why != "" {
		return why
	}
	if !w.holds(st, h) {
		return reasonVolume
	}
	return ""
}

func (w *world) refusesNode(st *static, h int32) string {
	switch {
	case w.barred[h] != "":
		return reasonNotReady + w.barred[h]
	case w.hosts[h].Cordoned && !st.rules.cordoned:
		return reasonCordoned
	case !st.bears[w.taintSet[h]]:
		return reasonTaint
	case !w.chosen(&st.rules, h):
		return reasonAffinity
	}
	return ""
}

// chosen says whether node selector and required node affinity accept host h.
func (w *world) chosen(r *nodeRules, h int32) bool {
	for i := range r.selector {
		if value, has := w.labels[h][r.selector[i].Key]; !has || value != r.selector[i].Value {
			return false
		}
	}
	for i := range r.required {
		if w.accepts(&r.required[i], h) {
			return true
		}
	}
	return len(r.required) == 0
}

// accepts says whether host h meets the whole term; an empty term accepts no host.
func (w *world) accepts(t *Term, h int32) bool {
	for i := range t.Fields {
		if !t.Fields[i].meets(w.hosts[h].Name, true) {
			return false
		}
	}
	for i := range t.Labels {
		value, has := w.labels[h][t.Labels[i].Key]
		if !t.Labels[i].meets(value, has) {
			return false
		}
	}
	return len(t.Fields)+len(t.Labels) > 0
}

func (w *world) holds(st *static, h int32) bool {
	return st.rules.volumes == nil || slices.Contains(st.rules.volumes, w.hosts[h].ID) ||
		slices.Contains(st.rules.volumes, w.hosts[h].Name)
}
