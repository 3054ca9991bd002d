package placement

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	zoneKey = "topology.kubernetes.io/zone"
	hostKey = "kubernetes.io/hostname"
)

// mixed is a cluster in which every kind of constraint occurs: about 70 % full, workloads of 1 to 200 replicas, six in
// ten without wishes of their own, the others with one or two each; a fifth have a disruption budget. So many pods are to
// be placed; those with gates and those that make way for others come on top.
func mixed(seed uint64, hosts, pods int) View {
	r := rand.New(rand.NewPCG(seed, 11))
	var v View
	for i := range hosts {
		v.Hosts = append(v.Hosts, mixedHost(r, i))
	}
	for a, placeable := 0, 0; placeable < pods; a++ {
		replicas := []int{1, 2 + r.IntN(2), 3 + r.IntN(8), 10 + r.IntN(190)}[r.IntN(4)]
		p := mixedPod(r, a, hosts, replicas)
		for i := range min(replicas, pods-placeable) {
			p.UID, p.Name = fmt.Sprintf("%08x-%04x-4000-8000-%012x", a, i, seed), fmt.Sprintf("app-%d-%d", a, i)
			if p.Nominated != "" {
				p.Nominated = v.Hosts[r.IntN(hosts)].ID
				v.Pods = append(v.Pods, leavingFor(p))
			}
			if !p.Gated {
				placeable++
			}
			v.Pods = append(v.Pods, p)
		}
		if a%5 == 0 {
			v.Budgets = append(v.Budgets, Budget{ID: fmt.Sprint("budget-", a), Namespace: p.Namespace, Match: alike(r, a), MatchNothing: a%50 == 0, Allowed: 1 + int64(replicas/10)})
		}
	}
	return v
}

func mixedHost(r *rand.Rand, i int) Host {
	k := int64(1) << r.IntN(4)
	h := Host{ID: fmt.Sprintf("host-%05d", i), Name: fmt.Sprintf("h%05d", i), Allocatable: Resources{
		CPU: 8000 * k, Memory: k << 30 * []int64{16, 32, 32, 64}[r.IntN(4)], Disk: 100 << 30 * k, Pods: 250}}
	h.Labels = []Label{{hostKey, h.Name}, {zoneKey, fmt.Sprint("z", i%9)},
		{"kubernetes.io/arch", []string{"amd64", "amd64", "amd64", "arm64"}[r.IntN(4)]}, {"kubernetes.io/os", "linux"}, {"generation", fmt.Sprint(1 + r.IntN(9))}}
	if r.IntN(2) == 0 {
		h.Labels = append(h.Labels, Label{"disk", "ssd"})
	}
	switch r.IntN(20) {
	case 0:
		h.Taints = []Taint{{"dedicated", "batch", NoSchedule}}
	case 1:
		h.Taints = []Taint{{"spot", "", PreferNoSchedule}}
	case 2:
		h.Taints = []Taint{{"sick", "", NoExecute}}
	case 3:
		h.Allocatable.Extended = []Amount{{"nvidia.com/gpu", 4}}
	case 4:
		h.Cordoned = i%2 == 0
	}
	switch i % 100 {
	case 25:
		h.NotReady = "out of sight"
	case 50:
		h.LastResort = true
	case 75:
		h.Joined = true
	}
	return h
}

func mixedPod(r *rand.Rand, a, hosts, replicas int) Pod {
	cpu := []int64{50, 100, 100, 250, 250, 500, 1000}[r.IntN(7)]
	p := Pod{Namespace: fmt.Sprint("n", a%20), Owner: fmt.Sprint("owner-", a), Labels: []Label{{"app", fmt.Sprint("a", a)}, {"tier", fmt.Sprint("t", a%5)}},
		Requests: Resources{CPU: cpu, Memory: cpu << 20 * []int64{2, 4, 4, 8}[r.IntN(4)], Disk: 1 << 28 << (2 * r.IntN(3)), Pods: 1}}
	if a%10 == 3 {
		p.Labels = append(p.Labels, Label{"serves", fmt.Sprint("s", r.IntN(3))})
	}
	own, few := alike(r, a), replicas <= hosts/10
	some := func() string { return fmt.Sprintf("host-%05d", r.IntN(hosts)) }
	switch r.IntN(62) {
	case 0:
		p.Selector = []Label{{"disk", "ssd"}}
	case 1:
		p.Required = []Term{{Labels: []Requirement{{"kubernetes.io/arch", In, []string{"arm64"}}}}}
	case 2:
		p.Preferred = []WeightedTerm{{Term{Labels: []Requirement{{"disk", In, []string{"ssd"}}}}, 50}}
	case 3:
		p.Affinity = []PodTerm{{Topology: zoneKey, Match: own}}
	case 4, 5:
		if few {
			p.AntiAffinity = []PodTerm{{Topology: hostKey, Match: own}}
		}
	case 6:
		p.PrefersNear = []PodTerm{{Topology: zoneKey, Match: []Requirement{{"tier", In, []string{"t1"}}}, Weight: 20}}
	case 7:
		p.PrefersApart = []PodTerm{{Topology: hostKey, Match: own, Weight: 100}}
	case 8, 9:
		p.Spread = []Spread{{Topology: zoneKey, MaxSkew: 1, Hard: true, Match: own}}
	case 10:
		p.Spread = []Spread{{Topology: zoneKey, MaxSkew: 1, Match: own}, {Topology: hostKey, MaxSkew: 1, Match: own}}
	case 11:
		if few {
			p.Ports = [][]HostPort{{{"", "TCP", int32(8000 + a%50)}}, {{"10.0.0.1", "UDP", int32(8000 + a%50)}, {"10.0.0.1", "", int32(8000 + a%50)}}}[r.IntN(2)]
		}
	case 12:
		if replicas < 5 {
			p.Requests.Extended = []Amount{{"nvidia.com/gpu", 1}}
		}
	case 13:
		p.Tolerations = mixedTolerations[r.IntN(len(mixedTolerations))]
	case 14:
		if replicas < 5 {
			p.Hosts = []string{some(), some()}
		}
	case 15:
		p.Priority, p.NeverPreempts = 1000, r.IntN(3) == 0
	case 16:
		p.Required = []Term{mixedTerm(r), mixedTerm(r)}[:1+r.IntN(2)]
	case 17:
		p.Preferred = []WeightedTerm{{mixedTerm(r), 80}, {mixedTerm(r), 10}}
	case 18: // the hash of its template, as the binder reads matchLabelKeys
		p.Labels = append(p.Labels, Label{"pod-template-hash", fmt.Sprint(a % 7)})
		own = append(own, Requirement{"pod-template-hash", In, []string{fmt.Sprint(a % 7)}})
		p.Spread = []Spread{{Topology: zoneKey, MaxSkew: 2, Hard: true, MinDomains: 2 + r.Int64N(4), Match: own, MatchNothing: r.IntN(9) == 0}}
	case 19:
		p.Selector, p.Tolerations = []Label{{"disk", "ssd"}}, mixedTolerations[r.IntN(len(mixedTolerations))]
		p.Spread = []Spread{{Topology: zoneKey, MaxSkew: 1 + r.Int64N(2), Hard: r.IntN(3) > 0, Match: own, IgnoreAffinity: r.IntN(2) == 0, HonorTaints: r.IntN(3) > 0}}
	case 20:
		p.Affinity = []PodTerm{abroad(r, PodTerm{Topology: zoneKey, Match: []Requirement{{"tier", Exists, nil}}})}
	case 21: // with those like it in its own and other namespaces
		p.Labels = append(p.Labels, Label{"noisy", fmt.Sprint(a % 3)})
		if replicas < 5 {
			p.AntiAffinity = []PodTerm{{Topology: hostKey, Match: own, MatchNothing: r.IntN(3) == 0}, abroad(r, PodTerm{Topology: hostKey, Match: []Requirement{{"noisy", Exists, nil}}})}
		}
	case 22:
		p.PrefersNear = []PodTerm{abroad(r, PodTerm{Topology: zoneKey, Weight: 30, MatchNothing: r.IntN(4) == 0})}
		p.PrefersApart = []PodTerm{abroad(r, PodTerm{Topology: hostKey, Weight: 60, MatchNothing: r.IntN(4) == 0})}
	case 23:
		p.Gated, p.Requests.Disk = r.IntN(2) == 0, (5+r.Int64N(20))<<30
	case 24:
		if few {
			p.Nominated, p.Priority = "some host", 10
		}
	}
	return p
}

// alike selects the pods of one workload.
func alike(r *rand.Rand, a int) []Requirement {
	more := [][]Requirement{{}, {}, {}, {{"tier", Exists, nil}}, {{"canary", DoesNotExist, nil}}, {{"tier", NotIn, []string{"t7", "t8"}}}}
	return append([]Requirement{{"app", In, []string{fmt.Sprint("a", a)}}}, more[r.IntN(len(more))]...)
}

// abroad lets a term select pods of other namespaces too: those that serve many, unless it says which.
func abroad(r *rand.Rand, t PodTerm) PodTerm {
	if t.Match == nil {
		t.Match = []Requirement{{"serves", In, []string{fmt.Sprint("s", r.IntN(3))}}}
	}
	more := [][]Requirement{{}, {}, {{"app", Exists, nil}}, {{"canary", DoesNotExist, nil}}, {{"tier", NotIn, []string{"t7"}}}}
	t.Match = append(t.Match, more[r.IntN(len(more))]...)
	if r.IntN(4) == 0 {
		t.AllNamespaces = true
	} else {
		t.Namespaces = []string{fmt.Sprint("n", r.IntN(20)), fmt.Sprint("n", r.IntN(20))}
	}
	return t
}

var mixedTolerations = [][]Toleration{
	{{Key: "dedicated", Value: "batch", Effect: NoSchedule}, {Key: "sick", Exists: true, AnyEffect: true}},
	{{Key: "sick", Exists: true, Effect: NoExecute}},
	{{Key: "spot", Exists: true, Effect: PreferNoSchedule}},
	{{Exists: true, AnyEffect: true}},
}

// mixedTerm accepts between a tenth and nearly all of the hosts.
func mixedTerm(r *rand.Rand) Term {
	var names []string
	for range 20 {
		names = append(names, fmt.Sprintf("h%05d", r.IntN(100)))
	}
	return []Term{
		{Labels: []Requirement{{"kubernetes.io/arch", NotIn, []string{"arm64", "riscv64"}}}},
		{Labels: []Requirement{{"disk", Exists, nil}}},
		{Labels: []Requirement{{"disk", DoesNotExist, nil}, {"kubernetes.io/os", In, []string{"linux"}}}},
		{Labels: []Requirement{{"generation", Gt, []string{"2"}}}},
		{Labels: []Requirement{{"generation", Gt, []string{"1"}}, {"generation", Lt, []string{"8"}}}},
		{Labels: []Requirement{{"disk", Exists, nil}}, Fields: []Requirement{{"metadata.name", NotIn, names}}},
		{Fields: []Requirement{{"metadata.name", In, names}}},
	}[r.IntN(7)]
}

// leavingFor is a pod that makes way for the one that is nominated for its host.
func leavingFor(p Pod) Pod {
	q := Pod{UID: p.UID + "-before", Name: p.Name + "-before", Namespace: p.Namespace, Requests: p.Requests, Host: p.Nominated, Leaving: true}
	q.Labels = []Label{{"app", "before"}}
	return q
}

// Plans for mixed clusters keep all rules by a second reading of them, at first and when two hosts are lost.
func TestMixedPlansHold(t *testing.T) {
	binds, preempted := 0, 0
	for seed := range uint64(3) {
		for _, o := range []Options{{}, {Pack: true}, {Preempt: true, Moves: 8, Rebalance: Gentle}} {
			v := mixed(seed, 20, 1000)
			if err := Validate(v); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				p := Place(v, o)
				if err := check(v, o, p); err != nil {
					t.Errorf("seed %d, %+v: %v", seed, o, err)
				}
				binds, preempted = binds+len(p.Binds), preempted+len(p.Preemptions)
				v = carryOut(v, p)
				lose(&v, int(seed), int(seed)+7)
			}
		}
	}
	t.Logf("%d binds, %d preemptions", binds, preempted)
}

// lose takes some hosts away, and the pods on them that are to go elsewhere.
func lose(v *View, hosts ...int) {
	for _, h := range hosts {
		v.Hosts[h].NotReady = "lost"
		for i := range v.Pods {
			if p := &v.Pods[i]; p.Host == v.Hosts[h].ID && !p.Leaving {
				p.Host = ""
			}
		}
	}
}

// What mixed leaves out, by the end of its path, and why.
var unmixed = map[string]string{
	"Match[].Op=Gt":                  "Kubernetes has it for nodes only",
	"Match[].Op=Lt":                  "Kubernetes has it for nodes only",
	"Fields[].Op=Exists":             "Kubernetes matches metadata.name with In and NotIn only",
	"Fields[].Op=DoesNotExist":       "Kubernetes matches metadata.name with In and NotIn only",
	"Fields[].Op=Gt":                 "Kubernetes matches metadata.name with In and NotIn only",
	"Fields[].Op=Lt":                 "Kubernetes matches metadata.name with In and NotIn only",
	"Pods[].Affinity[].Weight":       "weighs preferences only",
	"Pods[].AntiAffinity[].Weight":   "weighs preferences only",
	"Pods[].Affinity[].MatchNothing": "no host has such company: the pod would wait for ever",
}

// Every field of a View takes a value in mixed and every enum all of its values, so that what is measured there is measured
// with all kinds of constraints.
func TestMixedHasEveryKind(t *testing.T) {
	used := map[string]bool{}
	note(used, "", reflect.ValueOf(mixed(1, 1000, 50000)))
	found := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(used)) {
		left := ""
		for end := range unmixed {
			if strings.HasSuffix(path, end) {
				left, found[end] = end, true
			}
		}
		if used[path] == (left != "") {
			t.Errorf("%s: occurs: %v, left out because it %q", path, used[path], unmixed[left])
		}
	}
	if len(found) < len(unmixed) {
		t.Errorf("of %v only %v are there at all", unmixed, found)
	}
}

// note walks all values that can be reached from v and marks the paths of those that say something.
func note(used map[string]bool, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			note(used, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		if !used[path] { // so that what is below is known even if it never occurs
			used[path] = true
			note(used, path+"[]", reflect.Zero(v.Type().Elem()))
		}
		for i := range v.Len() {
			note(used, path+"[]", v.Index(i))
		}
	case reflect.Uint8:
		for i, name := range map[string][]string{"Operator": {"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"}, "Effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"}}[v.Type().Name()] {
			used[path+"="+name] = used[path+"="+name] || v.Uint() == uint64(i)
		}
	default:
		used[path] = used[path] || !v.IsZero()
	}
}
