package placement

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawn views are small and crowded, so that every rule is in every other one's way.

func drawMatch(t *rapid.T, max int) []Requirement {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Requirement {
		r := Requirement{Key: rapid.SampledFrom([]string{"app", "tier"}).Draw(t, "key"), Op: rapid.SampledFrom([]Operator{In, In, In, NotIn, Exists, DoesNotExist}).Draw(t, "op")}
		if r.Op == In || r.Op == NotIn {
			r.Values = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 2, rapid.ID[string]).Draw(t, "values")
		}
		return r
	}), 0, max).Draw(t, "match")
}

func drawTerm(t *rapid.T) Term {
	var out Term
	for range rapid.IntRange(0, 2).Draw(t, "requirements") {
		out.Labels = append(out.Labels, rapid.SampledFrom([]Requirement{
			{Key: "zone", Op: In, Values: []string{"z1", "z2"}}, {Key: "zone", Op: NotIn, Values: []string{"z1"}},
			{Key: "ssd", Op: Exists}, {Key: "ssd", Op: DoesNotExist},
			{Key: "gen", Op: Gt, Values: []string{"1"}}, {Key: "gen", Op: Lt, Values: []string{"2"}},
		}).Draw(t, "requirement"))
	}
	if rapid.IntRange(0, 4).Draw(t, "named") == 0 {
		out.Fields = []Requirement{{Key: "metadata.name", Op: rapid.SampledFrom([]Operator{In, NotIn}).Draw(t, "op"), Values: []string{"name-0", "name-2"}}}
	}
	return out
}

func drawPodTerms(t *rapid.T, odds int) []PodTerm {
	if rapid.IntRange(0, odds).Draw(t, "has") < odds {
		return nil
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) PodTerm {
		return PodTerm{
			Topology:      rapid.SampledFrom([]string{"host", "zone"}).Draw(t, "topology"),
			Namespaces:    rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"n1", "n2", "n3"}), 0, 2, rapid.ID[string]).Draw(t, "namespaces"),
			AllNamespaces: rapid.IntRange(0, 5).Draw(t, "all") == 0,
			MatchNothing:  rapid.IntRange(0, 9).Draw(t, "nothing") == 0,
			Match:         drawMatch(t, 2),
			Weight:        rapid.Int64Range(1, 100).Draw(t, "weight"),
		}
	}), 1, 2).Draw(t, "terms")
}

func drawHost(t *rapid.T, i int) Host {
	h := Host{ID: fmt.Sprintf("id-%d", i), Name: fmt.Sprintf("name-%d", i), Labels: []Label{{"host", fmt.Sprint(i)}}}
	if rapid.IntRange(0, 6).Draw(t, "zoned") > 0 {
		h.Labels = append(h.Labels, Label{"zone", rapid.SampledFrom([]string{"z1", "z2", "z3"}).Draw(t, "zone")})
	}
	if rapid.Bool().Draw(t, "ssd") {
		h.Labels = append(h.Labels, Label{"ssd", "yes"}, Label{"gen", rapid.SampledFrom([]string{"1", "2", "x"}).Draw(t, "gen")})
	}
	h.Taints = rapid.SliceOfN(rapid.SampledFrom([]Taint{{"gpu", "", NoSchedule}, {"old", "v", PreferNoSchedule}, {"sick", "v", NoExecute}}), 0, 2).Draw(t, "taints")
	if rapid.IntRange(0, 2).Draw(t, "tainted") > 0 {
		h.Taints = nil
	}
	h.Joined = rapid.IntRange(0, 3).Draw(t, "joined") == 3
	h.LastResort = rapid.IntRange(0, 4).Draw(t, "last") == 4
	h.Cordoned = rapid.IntRange(0, 9).Draw(t, "cordoned") == 6
	if rapid.IntRange(0, 9).Draw(t, "ready") == 6 {
		h.NotReady = "out of sight"
	}
	h.Allocatable = Resources{CPU: 20 - rapid.Int64Range(0, 20).Draw(t, "cpu"), Memory: (20 - rapid.Int64Range(0, 16).Draw(t, "memory")) << 20,
		Disk: 20 - rapid.Int64Range(0, 15).Draw(t, "disk"), Pods: 8 - rapid.Int64Range(0, 6).Draw(t, "pods")}
	if rapid.Bool().Draw(t, "gpu") {
		h.Allocatable.Extended = []Amount{{"gpu", 2}, {"fpga", 1}}
	}
	return h
}

func drawPod(t *rapid.T, i int) Pod {
	odds := func(n int, what string) bool { return rapid.IntRange(0, n).Draw(t, what) == n }
	p := Pod{UID: fmt.Sprintf("uid-%d", i), Namespace: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "namespace"), Name: fmt.Sprint("p", i)}
	p.Owner = rapid.SampledFrom([]string{"", "o1", "o2"}).Draw(t, "owner")
	for _, k := range []string{"app", "tier"} {
		if !odds(3, "unlabelled") {
			p.Labels = append(p.Labels, Label{k, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, k)})
		}
	}
	p.Requests = Resources{CPU: rapid.Int64Range(0, 6).Draw(t, "cpu"), Memory: rapid.Int64Range(0, 6).Draw(t, "memory") << 20, Disk: rapid.Int64Range(0, 4).Draw(t, "disk")}
	if odds(5, "gpu") {
		p.Requests.Extended = []Amount{{"gpu", 1}, {"fpga", 1}}[:1+rapid.IntRange(0, 1).Draw(t, "fpga")]
	}
	p.Priority = rapid.Int32Range(0, 2).Draw(t, "priority")
	if odds(6, "selector") {
		p.Selector = []Label{{"ssd", "yes"}, {"gen", "1"}}[:1+rapid.IntRange(0, 1).Draw(t, "and gen")]
	}
	if odds(4, "required") {
		p.Required = []Term{drawTerm(t), drawTerm(t)}[:2-rapid.IntRange(0, 2).Draw(t, "fewer")]
	}
	if odds(4, "preferred") {
		p.Preferred = []WeightedTerm{{drawTerm(t), 50}, {drawTerm(t), 7}}
	}
	p.Affinity, p.AntiAffinity = drawPodTerms(t, 4), drawPodTerms(t, 4)
	p.PrefersNear, p.PrefersApart = drawPodTerms(t, 6), drawPodTerms(t, 6)
	if odds(3, "spread") {
		p.Spread = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Spread {
			return Spread{Topology: rapid.SampledFrom([]string{"host", "zone"}).Draw(t, "topology"), MaxSkew: rapid.Int64Range(1, 2).Draw(t, "skew"),
				Hard: rapid.IntRange(0, 3).Draw(t, "soft") > 0, MinDomains: rapid.Int64Range(0, 4).Draw(t, "domains"), Match: drawMatch(t, 1),
				MatchNothing: rapid.IntRange(0, 9).Draw(t, "nothing") == 0, IgnoreAffinity: rapid.Bool().Draw(t, "ignore"), HonorTaints: rapid.Bool().Draw(t, "honor")}
		}), 1, 2).Draw(t, "spread")
	}
	p.Tolerations = rapid.SliceOfN(rapid.SampledFrom([]Toleration{{Key: "gpu", Exists: true, AnyEffect: true}, {Key: "sick", Value: "v", Effect: NoExecute},
		{Exists: true, Effect: NoSchedule}, {Key: "old", Value: "w", AnyEffect: true}}), 0, 2).Draw(t, "tolerations")
	if odds(4, "port") {
		p.Ports = rapid.SliceOfNDistinct(rapid.SampledFrom([]HostPort{{"", "TCP", 80}, {"10.0.0.1", "", 80}, {"10.0.0.2", "TCP", 80}, {"0.0.0.0", "UDP", 80}}), 1, 2, rapid.ID[HostPort]).Draw(t, "hostports")
	}
	if odds(9, "volume") {
		p.Hosts = rapid.SliceOfN(rapid.SampledFrom([]string{"id-0", "name-1", "id-9"}), 0, 2).Draw(t, "hosts")
	}
	p.Leaving, p.Gated, p.NeverPreempts = odds(12, "leaving"), odds(19, "gated"), odds(9, "never")
	if odds(9, "nominated") {
		p.Nominated = fmt.Sprintf("id-%d", rapid.IntRange(0, 7).Draw(t, "nominee"))
	}
	if odds(2, "claimed") {
		p.Host = fmt.Sprintf("id-%d", rapid.IntRange(0, 7).Draw(t, "host"))
	}
	return p
}

func drawView(t *rapid.T) View {
	var v View
	for i := range rapid.IntRange(0, 7).Draw(t, "hosts") {
		v.Hosts = append(v.Hosts, drawHost(t, i))
	}
	for i := range rapid.IntRange(1, 24).Draw(t, "pods") {
		v.Pods = append(v.Pods, drawPod(t, i))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "budgets") {
		v.Budgets = append(v.Budgets, drawBudget(t, i))
	}
	return v
}

func drawOptions(t *rapid.T) Options {
	return Options{Candidates: rapid.IntRange(0, 5).Draw(t, "candidates"), Pack: rapid.Bool().Draw(t, "pack")}
}

// drawBoldOptions lets pods move and leave.
func drawBoldOptions(t *rapid.T) Options {
	o := drawOptions(t)
	o.Preempt, o.Moves, o.Rebalance = rapid.Bool().Draw(t, "preempt"), rapid.IntRange(0, 3).Draw(t, "moves"), rapid.SampledFrom([]Rebalance{Off, Gentle, Eager}).Draw(t, "rebalance")
	return o
}

// No hard rule and no capacity is ever broken, nothing is pending that fits, every reason is true.
func TestEveryRuleHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, o := drawView(t), drawBoldOptions(t)
		if err := Validate(v); err != nil {
			t.Fatal(err)
		}
		if err := check(v, o, Place(v, o)); err != nil {
			t.Fatal(err)
		}
	})
}

// The drawn views reach every reason, so that the properties above mean something.
func TestDrawnViewsReachEveryReason(t *testing.T) {
	views := []*rapid.Generator[View]{rapid.Custom(drawView), rapid.Custom(drawContest)}
	seen, bound, preempted, moved, rebalanced, last := map[string]int{}, 0, 0, 0, 0, 0
	for seed := range 1500 {
		v := views[seed/2%2].Example(seed)
		o := Options{}
		if seed%2 == 1 {
			o = Options{Preempt: true, Moves: 3, Rebalance: Eager}
		}
		p := Place(v, o)
		if err := check(v, o, p); err != nil {
			t.Fatal(err)
		}
		for _, m := range p.Moves {
			if m.For == "" {
				rebalanced++
			} else {
				moved++
			}
		}
		preempted += len(p.Preemptions)
		bound += len(p.Binds)
		for _, b := range p.Binds {
			if newJudge(v).host(b.Host).LastResort {
				last++
			}
		}
		for _, w := range p.Pending {
			for _, r := range w.Reasons {
				seen[r.Text]++
			}
		}
	}
	t.Logf("%d binds, %d of them to a last resort, %d preemptions, %d moves for others, %d to newcomers, refusals: %v", bound, last, preempted, moved, rebalanced, seen)
	if preempted == 0 || moved == 0 || rebalanced == 0 || last == 0 {
		t.Error("no drawn view ever led to a preemption, a repair, a rebalancing or a bind to a last resort")
	}
	for _, text := range []string{reasonCordoned, reasonTaint, reasonAffinity, reasonPorts, reasonPods, reasonLack + "cpu", reasonLack + "memory",
		reasonLack + "gpu", reasonVolume, reasonSpread, reasonSpread + missingLabel, reasonNear, reasonApart, reasonExisting} {
		if seen[text] == 0 {
			t.Errorf("no drawn view ever led to %q", text)
		}
	}
}

// drawContest is one to three hosts full of pods of low priority, and pods of several higher ones that all want the same room.
func drawContest(t *rapid.T) View {
	var v View
	for i := range rapid.IntRange(1, 3).Draw(t, "hosts") {
		h := drawHost(t, i)
		h.Taints, h.Cordoned, h.NotReady = nil, false, ""
		h.Allocatable = Resources{CPU: 12, Memory: 20 << 20, Disk: 20, Pods: 8, Extended: []Amount{{"gpu", 2}}}
		v.Hosts = append(v.Hosts, h)
	}
	for i := range rapid.IntRange(4, 18).Draw(t, "pods") {
		p := drawPod(t, i)
		p.Selector, p.Required, p.Hosts, p.Nominated, p.Gated = nil, nil, nil, "", false
		p.Requests.CPU = rapid.Int64Range(1, 6).Draw(t, "more cpu")
		p.Host = ""
		if i%3 > 0 {
			p.Host = v.Hosts[i%len(v.Hosts)].ID
		} else {
			p.Priority += 2
		}
		v.Pods = append(v.Pods, p)
	}
	for i := range rapid.IntRange(0, 1).Draw(t, "budgets") {
		v.Budgets = append(v.Budgets, drawBudget(t, i))
	}
	return v
}

// Nobody leaves in vain: whoever is promised room has it beside all others who are promised theirs, also those of earlier Plans
// whose victims are still leaving.
func TestPromisesFitOneAnother(t *testing.T) {
	o := Options{Preempt: true}
	rapid.Check(t, func(t *rapid.T) {
		v := drawContest(t)
		for round := range 3 {
			p := Place(v, o)
			if err := check(v, o, p); err != nil {
				t.Fatal(err)
			}
			v = carryOut(v, p)
			v.Pods = slices.DeleteFunc(v.Pods, func(p Pod) bool { return p.Leaving && rapid.IntRange(0, 2).Draw(t, "gone") == 0 })
			for i := range rapid.IntRange(0, 2).Draw(t, "come") {
				p := drawPod(t, 100*(round+1)+i)
				p.Selector, p.Required, p.Hosts, p.Nominated, p.Gated, p.Host = nil, nil, nil, "", false, ""
				v.Pods = append(v.Pods, p)
			}
		}
	})
}

// Who is more important is not kept out by who is less: what is pending fits nowhere either when all that this Plan has bound of lower
// priority is thought away. (Company comes with those, and spreads even out by them; repair, exchange and promises follow other rules.)
func TestPriorityIsNeverInverted(t *testing.T) {
	judged, bound := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.OneOf(rapid.Custom(drawView), rapid.Custom(drawContest)).Draw(t, "view")
		for i := range v.Pods {
			v.Pods[i].Nominated = ""
		}
		p := Place(v, drawOptions(t))
		if !undisturbed(v, p) {
			return
		}
		for _, w := range p.Pending {
			j := newJudge(v)
			pod := j.pod(w.Pod)
			if len(pod.Affinity) > 0 || slices.ContainsFunc(pod.Spread, func(s Spread) bool { return s.Hard }) {
				continue
			}
			judged++
			for _, b := range p.Binds {
				if q := j.pod(b.Pod); q.Priority >= pod.Priority {
					q.Host = b.Host
				} else {
					bound++
				}
			}
			for i := range j.hosts {
				if h := &j.hosts[i]; j.refuses(pod, h) == nil {
					t.Fatalf("pod %s of priority %d is pending, but fits on %s without those of lower priority", w.Pod, pod.Priority, h.ID)
				}
			}
		}
	})
	t.Logf("%d pending pods judged, beside %d binds of lower priority", judged, bound)
	if bound == 0 {
		t.Error("no drawn view ever bound a pod of lower priority than one that is pending")
	}
}

func shuffled[T any](t *rapid.T, s []T) []T {
	if len(s) < 2 {
		return slices.Clone(s) // nil stays nil, empty stays empty
	}
	return rapid.Permutation(slices.Clone(s)).Draw(t, "order")
}

func shuffledMatch(t *rapid.T, rs []Requirement) []Requirement {
	out := shuffled(t, rs)
	for i := range out {
		out[i].Values = shuffled(t, out[i].Values)
	}
	return out
}

func shuffledTerm(t *rapid.T, x Term) Term {
	return Term{Labels: shuffledMatch(t, x.Labels), Fields: shuffledMatch(t, x.Fields)}
}

// The same View in another order, down to the labels and terms of each pod, gives the same bytes.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, o := rapid.OneOf(rapid.Custom(drawView), rapid.Custom(drawContest)).Draw(t, "view"), drawBoldOptions(t)
		for i := range v.Pods { // some are replicas, and yet spelled otherwise in the other View
			if p := v.Pods[i/3*3]; rapid.IntRange(0, 1).Draw(t, "replica") == 1 {
				p.UID, p.Name, p.Host, p.Nominated = v.Pods[i].UID, v.Pods[i].Name, v.Pods[i].Host, v.Pods[i].Nominated
				v.Pods[i] = p
			}
		}
		u := View{Hosts: shuffled(t, v.Hosts), Pods: shuffled(t, v.Pods), Budgets: shuffled(t, v.Budgets)}
		for i := range u.Hosts {
			h := &u.Hosts[i]
			h.Labels, h.Taints, h.Allocatable.Extended = shuffled(t, h.Labels), shuffled(t, h.Taints), shuffled(t, h.Allocatable.Extended)
		}
		for i := range u.Budgets {
			u.Budgets[i].Match = shuffledMatch(t, u.Budgets[i].Match)
		}
		for i := range u.Pods {
			p := &u.Pods[i]
			p.Labels, p.Required, p.Affinity, p.AntiAffinity = shuffled(t, p.Labels), shuffled(t, p.Required), shuffled(t, p.Affinity), shuffled(t, p.AntiAffinity)
			p.Spread, p.Tolerations, p.Preferred = shuffled(t, p.Spread), shuffled(t, p.Tolerations), shuffled(t, p.Preferred)
			p.PrefersNear, p.PrefersApart = shuffled(t, p.PrefersNear), shuffled(t, p.PrefersApart)
			p.Ports, p.Selector, p.Hosts, p.Requests.Extended = shuffled(t, p.Ports), shuffled(t, p.Selector), shuffled(t, p.Hosts), shuffled(t, p.Requests.Extended)
			for k := range p.Required {
				p.Required[k] = shuffledTerm(t, p.Required[k])
			}
			for k := range p.Preferred {
				p.Preferred[k].Term = shuffledTerm(t, p.Preferred[k].Term)
			}
			for k := range p.Spread {
				p.Spread[k].Match = shuffledMatch(t, p.Spread[k].Match)
			}
			for _, terms := range [][]PodTerm{p.Affinity, p.AntiAffinity, p.PrefersNear, p.PrefersApart} {
				for k := range terms {
					terms[k].Match, terms[k].Namespaces = shuffledMatch(t, terms[k].Match), shuffled(t, terms[k].Namespaces)
				}
			}
		}
		if a, b := spell(Place(v, o)), spell(Place(u, o)); a != b {
			t.Fatalf("plans differ:\n%s\n%s", a, b)
		}
	})
}

func spell(p Plan) string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A plan that was carried out leaves nothing to do: the second plan binds nothing and gives the same reasons.
func TestCarriedOutPlanIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, o := drawView(t), drawOptions(t)
		first := Place(v, o)
		second := Place(carryOut(v, first), o)
		if len(second.Binds) > 0 {
			t.Fatalf("placed after all: %v", second.Binds)
		}
		if a, b := spell(Plan{Pending: first.Pending}), spell(Plan{Pending: second.Pending}); a != b {
			t.Fatalf("reasons changed:\n%s\n%s", a, b)
		}
	})
}

func carryOut(v View, p Plan) View {
	hosts, nominated, leaving := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, x := range p.Moves {
		hosts[x.Pod] = x.To
	}
	for _, b := range p.Binds {
		hosts[b.Pod] = b.Host
	}
	for _, x := range p.Preemptions {
		nominated[x.Pod] = x.Host
		for _, v := range x.Victims {
			leaving[v] = true
		}
	}
	v.Pods = slices.Clone(v.Pods)
	for i := range v.Pods {
		q := &v.Pods[i]
		if h := hosts[q.UID]; h != "" {
			if q.Host == "" {
				q.Nominated = ""
			}
			q.Host = h
		}
		if h := nominated[q.UID]; h != "" {
			q.Nominated = h
		}
		q.Leaving = q.Leaving || leaving[q.UID]
	}
	return v
}

// A view with faults in it never fails: what is sound is placed, by all the rules.
func TestFaultsStayLocal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		for i := range v.Pods {
			switch rapid.IntRange(0, 9).Draw(t, "fault") {
			case 0:
				v.Pods[i].Requests.CPU = -5
			case 1:
				v.Pods[i].UID = "uid-0"
			}
		}
		for i := range v.Hosts {
			switch rapid.IntRange(0, 9).Draw(t, "fault") {
			case 0:
				v.Hosts[i].Allocatable.Memory = -1
			case 1:
				v.Hosts[i].ID = "id-0"
			}
		}
		u := View{Hosts: shuffled(t, v.Hosts), Pods: shuffled(t, v.Pods)}
		if a, b := spell(Place(v, Options{})), spell(Place(u, Options{})); a != b {
			t.Fatalf("plans differ:\n%s\n%s", a, b)
		}
		if a, b := fmt.Sprint(Validate(v)), fmt.Sprint(Validate(u)); a != b {
			t.Fatalf("errors differ:\n%s\n%s", a, b)
		}
	})
}
