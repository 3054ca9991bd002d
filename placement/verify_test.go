package placement

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
)

// judge is a second, slow and plain reading of the rules, written without the solver's tables: it asks every pod about
// every host anew. It shares only the types with the code that it judges.
type judge struct {
	hosts []Host
	byID  map[string]int
	pods  []Pod // with Host as assigned so far
}

func newJudge(v View) *judge {
	j := &judge{hosts: slices.Clone(v.Hosts), byID: map[string]int{}, pods: slices.Clone(v.Pods)}
	for i := range j.hosts {
		j.byID[j.hosts[i].ID] = i
	}
	return j
}

func (j *judge) host(id string) *Host {
	if i, here := j.byID[id]; here {
		return &j.hosts[i]
	}
	return nil
}

func (j *judge) pod(uid string) *Pod {
	for i := range j.pods {
		if j.pods[i].UID == uid {
			return &j.pods[i]
		}
	}
	return nil
}

func labelOf(ls []Label, key string) (string, bool) {
	for _, l := range ls {
		if l.Key == key {
			return l.Value, true
		}
	}
	return "", false
}

func holdsFor(rs []Requirement, get func(string) (string, bool)) bool {
	for _, r := range rs {
		v, ok := get(r.Key)
		in := false
		for _, x := range r.Values {
			in = in || x == v
		}
		good := false
		switch r.Op {
		case In:
			good = ok && in
		case NotIn:
			good = !(ok && in)
		case Exists:
			good = ok
		case DoesNotExist:
			good = !ok
		case Gt, Lt:
			a, e1 := strconv.Atoi(v)
			b, e2 := strconv.Atoi(r.Values[0])
			good = ok && e1 == nil && e2 == nil && (r.Op == Gt && a > b || r.Op == Lt && a < b)
		}
		if !good {
			return false
		}
	}
	return true
}

func (j *judge) tolerates(p *Pod, t Taint) bool {
	for _, o := range p.Tolerations {
		if (o.AnyEffect || o.Effect == t.Effect) && (o.Key == "" || o.Key == t.Key) && (o.Exists || o.Value == t.Value) {
			return true
		}
	}
	return false
}

func (j *judge) wants(p *Pod, h *Host) bool {
	for _, l := range p.Selector {
		if v, ok := labelOf(h.Labels, l.Key); !ok || v != l.Value {
			return false
		}
	}
	if p.Required == nil {
		return true
	}
	for _, t := range p.Required {
		if len(t.Labels)+len(t.Fields) > 0 &&
			holdsFor(t.Labels, func(k string) (string, bool) { return labelOf(h.Labels, k) }) &&
			holdsFor(t.Fields, func(string) (string, bool) { return h.Name, true }) {
			return true
		}
	}
	return false
}

func (j *judge) hardTaints(p *Pod, h *Host) bool {
	for _, t := range h.Taints {
		if t.Effect != PreferNoSchedule && !j.tolerates(p, t) {
			return true
		}
	}
	return false
}

func selected(owner *Pod, t PodTerm, q *Pod) bool {
	if t.MatchNothing {
		return false
	}
	there := t.AllNamespaces || len(t.Namespaces) == 0 && q.Namespace == owner.Namespace || slices.Contains(t.Namespaces, q.Namespace)
	return there && holdsFor(t.Match, func(k string) (string, bool) { return labelOf(q.Labels, k) })
}

func sameDomain(a, b *Host, key string) bool {
	x, ok := labelOf(a.Labels, key)
	y, ok2 := labelOf(b.Labels, key)
	return ok && ok2 && x == y
}

// placed calls f for every pod that has a host in the view, except p itself.
func (j *judge) placed(p *Pod, f func(q *Pod, h *Host)) {
	for i := range j.pods {
		q := &j.pods[i]
		if q.Host == "" || q.UID == p.UID {
			continue
		}
		if h := j.host(q.Host); h != nil {
			f(q, h)
		}
	}
}

// refuses lists in kube-scheduler's words why host h cannot take p now.
func (j *judge) refuses(p *Pod, h *Host) []string {
	cordon := Taint{Key: "node.kubernetes.io/unschedulable", Effect: NoSchedule}
	switch {
	case h.NotReady != "":
		return []string{"node(s) were not ready: " + h.NotReady}
	case h.Cordoned && !j.tolerates(p, cordon):
		return []string{"node(s) were unschedulable"}
	case j.hardTaints(p, h):
		return []string{"node(s) had untolerated taint(s)"}
	case !j.wants(p, h):
		return []string{"node(s) didn't match Pod's node affinity/selector"}
	case j.portTaken(p, h):
		return []string{"node(s) didn't have free ports for the requested pod ports"}
	}
	if out := j.lacks(p, h); len(out) > 0 {
		return out
	}
	if p.Hosts != nil && !slices.Contains(p.Hosts, h.ID) && !slices.Contains(p.Hosts, h.Name) {
		return []string{"node(s) didn't match PersistentVolume's node affinity"}
	}
	for _, f := range []func(*Pod, *Host) string{j.spread, j.near, j.apart, j.keptAway} {
		if why := f(p, h); why != "" {
			return []string{why}
		}
	}
	return nil
}

func (j *judge) portTaken(p *Pod, h *Host) (taken bool) {
	any := func(ip string) bool { return ip == "" || ip == "0.0.0.0" }
	proto := func(s string) string {
		if s == "" {
			return "TCP"
		}
		return s
	}
	j.placed(p, func(q *Pod, on *Host) {
		for _, a := range p.Ports {
			for _, b := range q.Ports {
				if on.ID == h.ID && a.Port == b.Port && proto(a.Protocol) == proto(b.Protocol) && (any(a.IP) || any(b.IP) || a.IP == b.IP) {
					taken = true
				}
			}
		}
	})
	return taken
}

func (j *judge) lacks(p *Pod, h *Host) (out []string) {
	used := map[string]int64{}
	j.placed(p, func(q *Pod, on *Host) {
		if on.ID != h.ID {
			return
		}
		used["cpu"] += q.Requests.CPU
		used["memory"] += q.Requests.Memory
		used["ephemeral-storage"] += q.Requests.Disk
		used["pods"] += max(q.Requests.Pods, 1)
		for _, e := range q.Requests.Extended {
			used[e.Name] += e.Value
		}
	})
	if used["pods"]+max(p.Requests.Pods, 1) > h.Allocatable.Pods {
		out = append(out, "Too many pods")
	}
	check := func(name string, want, have int64) {
		if want > 0 && used[name]+want > have {
			out = append(out, "Insufficient "+name)
		}
	}
	check("cpu", p.Requests.CPU, h.Allocatable.CPU)
	check("memory", p.Requests.Memory, h.Allocatable.Memory)
	check("ephemeral-storage", p.Requests.Disk, h.Allocatable.Disk)
	for _, e := range p.Requests.Extended {
		var have int64
		for _, a := range h.Allocatable.Extended {
			if a.Name == e.Name {
				have = a.Value
			}
		}
		check(e.Name, e.Value, have)
	}
	return out
}

func (j *judge) spread(p *Pod, h *Host) string {
	const text = "node(s) didn't match pod topology spread constraints"
	eligible := func(s Spread, x *Host) bool {
		for _, t := range p.Spread {
			if _, ok := labelOf(x.Labels, t.Topology); t.Hard && !ok {
				return false
			}
		}
		cordon := x.Cordoned && !j.tolerates(p, Taint{Key: "node.kubernetes.io/unschedulable", Effect: NoSchedule})
		return (s.IgnoreAffinity || j.wants(p, x)) && (!s.HonorTaints || !j.hardTaints(p, x) && !cordon)
	}
	for _, s := range p.Spread {
		if _, ok := labelOf(h.Labels, s.Topology); s.Hard && !ok {
			return text + " (missing required label)"
		}
	}
	for _, s := range p.Spread {
		if !s.Hard {
			continue
		}
		term := PodTerm{Match: s.Match, MatchNothing: s.MatchNothing}
		counts := map[string]int64{}
		for i := range j.hosts {
			if x := &j.hosts[i]; eligible(s, x) {
				v, _ := labelOf(x.Labels, s.Topology)
				counts[v] += 0
				j.placed(p, func(q *Pod, on *Host) {
					if on.ID == x.ID && !q.Leaving && selected(p, term, q) {
						counts[v]++
					}
				})
			}
		}
		var least int64
		first := true
		for _, n := range counts {
			if first || n < least {
				least, first = n, false
			}
		}
		if int64(len(counts)) < max(s.MinDomains, 1) {
			least = 0
		}
		v, _ := labelOf(h.Labels, s.Topology)
		self := int64(0)
		if selected(p, term, p) {
			self = 1
		}
		if counts[v]+self-least > s.MaxSkew {
			return text
		}
	}
	return ""
}

func (j *judge) near(p *Pod, h *Host) string {
	const text = "node(s) didn't match pod affinity rules"
	all := func(q *Pod) bool {
		for _, t := range p.Affinity {
			if !selected(p, t, q) {
				return false
			}
		}
		return len(p.Affinity) > 0
	}
	together, nobody := true, true
	for _, t := range p.Affinity {
		if _, ok := labelOf(h.Labels, t.Topology); !ok {
			return text
		}
		here := false
		j.placed(p, func(q *Pod, on *Host) {
			if _, ok := labelOf(on.Labels, t.Topology); ok && all(q) {
				nobody = false
				here = here || sameDomain(on, h, t.Topology)
			}
		})
		together = together && here
	}
	if together || nobody && all(p) {
		return ""
	}
	return text
}

func (j *judge) apart(p *Pod, h *Host) (why string) {
	for _, t := range p.AntiAffinity {
		j.placed(p, func(q *Pod, on *Host) {
			if sameDomain(on, h, t.Topology) && selected(p, t, q) {
				why = "node(s) didn't match pod anti-affinity rules"
			}
		})
	}
	return why
}

func (j *judge) keptAway(p *Pod, h *Host) (why string) {
	j.placed(p, func(q *Pod, on *Host) {
		for _, t := range q.AntiAffinity {
			if sameDomain(on, h, t.Topology) && selected(q, t, p) {
				why = "node(s) didn't satisfy existing pods anti-affinity rules"
			}
		}
	})
	return why
}

// check replays a plan: every bind must be possible when its turn comes, every alternative too, and every pending pod must be
// refused by every host at the end, for exactly the reasons given. (A pod to which an earlier Plan promised room keeps it from some
// of those that wait and not from others: then reasons are not compared.) Nobody leaves or moves whom the Options let stay.
func check(v View, o Options, p Plan) error {
	j := newJudge(v)
	answered := map[string]bool{}
	if err := permitted(o, p); err != nil {
		return err
	}
	if err := j.departures(v, p); err != nil {
		return err
	}
	undisturbed := undisturbed(v, p)
	for _, b := range p.Binds {
		pod := j.pod(b.Pod)
		if pod == nil || pod.Host != "" || answered[b.Pod] {
			return fmt.Errorf("bind of %s: not a pod to place", b.Pod)
		}
		answered[b.Pod] = true
		others := b.Others
		if len(p.Moves) > 0 {
			others = nil // a later move may have filled them
		}
		for _, id := range append([]string{b.Host}, others...) {
			h := j.host(id)
			if h == nil {
				return fmt.Errorf("pod %s on unknown host %s", b.Pod, id)
			}
			if why := j.refuses(pod, h); why != nil {
				return fmt.Errorf("pod %s on %s: %v", b.Pod, id, why)
			}
			if better := j.better(pod, h); undisturbed && better != "" {
				return fmt.Errorf("pod %s on %s, which is a last resort, but fits on %s", b.Pod, id, better)
			}
		}
		if slices.Contains(b.Others, b.Host) {
			return fmt.Errorf("pod %s: host %s is its own alternative", b.Pod, b.Host)
		}
		pod.Host = b.Host
	}
	reserved := map[string]bool{}
	for i := range j.pods {
		if q := &j.pods[i]; q.Nominated != "" && q.Host == "" {
			reserved[q.Nominated] = true
		}
	}
	for _, w := range p.Pending {
		pod := j.pod(w.Pod)
		if pod == nil || pod.Host != "" || answered[w.Pod] {
			return fmt.Errorf("pending %s: not a pod to place", w.Pod)
		}
		answered[w.Pod] = true
		counts := map[string]int{}
		for i := range j.hosts {
			why := j.refuses(pod, &j.hosts[i])
			if why == nil && !reserved[j.hosts[i].ID] {
				return fmt.Errorf("pod %s is pending but fits on %s", w.Pod, j.hosts[i].ID)
			}
			for _, t := range why {
				counts[t]++
			}
		}
		var want []Reason
		for t, n := range counts {
			want = append(want, Reason{t, n})
		}
		sort.Slice(want, func(a, b int) bool {
			return want[a].Hosts > want[b].Hosts || want[a].Hosts == want[b].Hosts && want[a].Text < want[b].Text
		})
		if !slices.Equal(want, w.Reasons) && len(reserved) == 0 || w.Hosts != len(j.hosts) {
			return fmt.Errorf("pod %s: reasons %v, want %v", w.Pod, w.Reasons, want)
		}
	}
	for i := range v.Pods {
		if q := &v.Pods[i]; q.Host == "" && !q.Leaving && !q.Gated && !answered[q.UID] {
			return fmt.Errorf("pod %s has no answer", q.UID)
		}
	}
	return j.successors(p)
}

// successors lets the victims of one Preemption after the other go, and seats each pod where it was promised room, beside those that
// still wait for what earlier Plans promised them: nobody leaves in vain.
func (j *judge) successors(p Plan) error {
	var wait []*Pod
	for _, w := range p.Pending {
		if pod := j.pod(w.Pod); j.awaits(pod) {
			wait = append(wait, pod)
		}
	}
	for _, pod := range wait {
		pod.Host = pod.Nominated
	}
	for _, x := range p.Preemptions {
		for _, id := range x.Victims {
			j.pod(id).Host = ""
		}
		pod := j.pod(x.Pod)
		if why := j.refuses(pod, j.host(x.Host)); why != nil {
			return fmt.Errorf("%v leave %s in vain for %s: %v", x.Victims, x.Host, x.Pod, why)
		}
		pod.Host = x.Host
	}
	return nil
}

// awaits tells whether pods of no higher priority are leaving the host that the pod is promised and may be on.
func (j *judge) awaits(p *Pod) bool {
	h := j.host(p.Nominated)
	if h == nil {
		return false
	}
	rules := newJudge(View{Hosts: []Host{*h}})
	rules.hosts[0].Allocatable = Resources{Pods: 1}
	alone := *p
	alone.Spread, alone.Affinity, alone.Requests = nil, nil, Resources{}
	return rules.refuses(&alone, &rules.hosts[0]) == nil && slices.ContainsFunc(j.pods, func(q Pod) bool {
		return q.Host == h.ID && q.Leaving && q.Priority <= p.Priority
	})
}

// permitted checks the Plan against what Options allow to leave or move.
func permitted(o Options, p Plan) error {
	repairs := 0
	for _, m := range p.Moves {
		if m.For != "" {
			repairs++
		}
	}
	newcomers := len(p.Moves) - repairs
	if len(p.Preemptions) > 0 && !o.Preempt || repairs > o.Moves || newcomers > 0 && o.Rebalance == Off {
		return fmt.Errorf("%+v: %d preemptions, %d moves for others, %d to newcomers", o, len(p.Preemptions), repairs, newcomers)
	}
	return nil
}

// better names a host that could have taken the pod instead of one that is a last resort.
func (j *judge) better(p *Pod, h *Host) string {
	for i := range j.hosts {
		if x := &j.hosts[i]; h.LastResort && !x.LastResort && j.refuses(p, x) == nil {
			return x.ID
		}
	}
	return ""
}

// undisturbed tells whether hosts were only as full as the binds so far made them: nothing was kept for a nominated pod, and
// none was given another host later to make room (a bind for which that was done has no alternatives).
func undisturbed(v View, p Plan) bool {
	return len(p.Moves) == 0 && !slices.ContainsFunc(v.Pods, func(p Pod) bool { return p.Nominated != "" && p.Host == "" }) &&
		!slices.ContainsFunc(p.Binds, func(b Bind) bool { return b.Others == nil })
}

// departures checks who leaves or moves: victims have less priority than the pod they leave for and stay until the end;
// moved pods fit where they go; no budget lets more go than it allows.
func (j *judge) departures(v View, p Plan) error {
	gone, vacated := map[string]bool{}, map[string]bool{}
	for _, x := range p.Preemptions {
		pod := j.pod(x.Pod)
		if pod == nil || pod.Host != "" || pod.NeverPreempts || len(x.Victims) == 0 && !vacated[x.Host] {
			return fmt.Errorf("preemption for %s", x.Pod)
		}
		for _, id := range x.Victims {
			q := j.pod(id)
			if q == nil || q.Host != x.Host || q.Priority >= pod.Priority || q.Leaving || gone[id] {
				return fmt.Errorf("victim %s for %s", id, x.Pod)
			}
			gone[id], vacated[x.Host] = true, true
		}
	}
	for _, m := range p.Moves {
		q := j.pod(m.Pod)
		if q == nil || q.Host != m.From || q.Leaving || gone[m.Pod] || q.Owner == "" {
			return fmt.Errorf("move of %s", m.Pod)
		}
		gone[m.Pod] = true
		q.Host = ""
		if why := j.refuses(q, j.host(m.To)); why != nil {
			return fmt.Errorf("move of %s to %s: %v", m.Pod, m.To, why)
		}
		if j.host(m.To).LastResort {
			return fmt.Errorf("move of %s to %s, which is a last resort", m.Pod, m.To)
		}
		if m.For == "" && !j.host(m.To).Joined {
			return fmt.Errorf("move of %s to %s, which has not joined", m.Pod, m.To)
		}
		q.Host = m.To
	}
	for _, b := range v.Budgets {
		left := b.Allowed
		for i := range v.Pods {
			if q := &v.Pods[i]; gone[q.UID] && selected(&Pod{Namespace: b.Namespace}, PodTerm{Match: b.Match, MatchNothing: b.MatchNothing}, q) {
				left--
			}
		}
		if left < 0 {
			return fmt.Errorf("budget %s: %d too many", b.ID, -left)
		}
	}
	return nil
}
