package placement

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden plans anew")

func hostsOf(n int, cpu, memoryGiB int64) (out []Host) {
	for i := range n {
		id := fmt.Sprintf("h%d", i)
		out = append(out, Host{ID: id, Name: id, Allocatable: Resources{CPU: cpu, Memory: memoryGiB << 30, Pods: 110},
			Labels: []Label{{"kubernetes.io/hostname", id}, {"topology.kubernetes.io/zone", fmt.Sprint("z", i%3)}}})
	}
	return out
}

func podsOf(n int, owner string, f func(p *Pod)) (out []Pod) {
	for i := range n {
		p := Pod{UID: fmt.Sprintf("%s-%d", owner, i), Namespace: "default", Owner: owner, Labels: []Label{{"app", owner}}, Requests: Resources{CPU: 100, Memory: 256 << 20}}
		if f != nil {
			f(&p)
		}
		out = append(out, p)
	}
	return out
}

func app(name string) []Requirement { return []Requirement{{"app", In, []string{name}}} }

// lines spells a plan for people.
func lines(p Plan) string {
	var b strings.Builder
	for _, x := range p.Binds {
		fmt.Fprintf(&b, "%s -> %s (then %s)\n", x.Pod, x.Host, strings.Join(x.Others, " "))
	}
	for _, x := range p.Pending {
		fmt.Fprintf(&b, "%s pending: %s\n", x.Pod, x)
	}
	return b.String()
}

// goldenView has one of everything.
func goldenView() View {
	v := View{Hosts: hostsOf(6, 4000, 16)}
	v.Hosts[1].Taints = []Taint{{"spot", "yes", PreferNoSchedule}}
	v.Hosts[2].Taints = []Taint{{"gpu", "", NoSchedule}}
	v.Hosts[3].Cordoned = true
	v.Hosts[4].NotReady = "out of sight"
	v.Hosts[5].Allocatable.Extended = []Amount{{"example.com/fpga", 1}}
	v.Pods = slices.Concat(
		podsOf(4, "web", func(p *Pod) { p.Priority = 10 }),
		podsOf(3, "db", func(p *Pod) {
			p.AntiAffinity = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app("db")}}
			p.Requests.CPU = 1000
		}),
		podsOf(2, "cache", func(p *Pod) {
			p.Affinity = []PodTerm{{Topology: "topology.kubernetes.io/zone", Match: app("web")}}
		}),
		podsOf(4, "even", func(p *Pod) {
			p.Spread = []Spread{{Topology: "topology.kubernetes.io/zone", MaxSkew: 1, Hard: true, Match: app("even")}}
			p.Tolerations = []Toleration{{Key: "gpu", Exists: true, AnyEffect: true}}
		}),
		podsOf(2, "fpga", func(p *Pod) { p.Requests.Extended = []Amount{{"example.com/fpga", 1}} }),
		podsOf(3, "port", func(p *Pod) { p.Ports = []HostPort{{"", "TCP", 8080}}; p.Requests.Memory = 6 << 30 }),
		podsOf(1, "disk", func(p *Pod) { p.Hosts = []string{"h3"} }),
		podsOf(1, "huge", func(p *Pod) { p.Requests.CPU, p.Requests.Memory = 64000, 256<<30 }),
		podsOf(1, "wrong", func(p *Pod) { p.Requests.CPU = -1 }),
	)
	v.Pods[1].Host = "h4"
	return v
}

// The plans of a fixed view, so that a change of any decision on any machine is seen.
func TestGoldenPlans(t *testing.T) {
	for _, c := range []struct {
		file string
		o    Options
	}{{"spread", Options{}}, {"pack", Options{Pack: true}}, {"one", Options{Candidates: 1}}} {
		path := "testdata/" + c.file + ".txt"
		got := lines(Place(goldenView(), c.o))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s\nwant:\n%s", c.file, got, want)
		}
	}
}

// The fingerprints of larger plans and of a history, equal on every machine.
func TestGoldenFingerprints(t *testing.T) {
	var b strings.Builder
	for _, o := range []Options{{}, {Pack: true}, {Candidates: 3, Preempt: true}} {
		fmt.Fprintf(&b, "%+v %x\n", o, sha256.Sum256([]byte(spell(Place(mixed(3, 150, 4000), o)))))
	}
	c := newChurn(1, 100, .95, Options{Moves: 8, Rebalance: Eager})
	for i := range 10 {
		fmt.Fprintf(&b, "event %d %x\n", i, sha256.Sum256([]byte(spell(c.event()))))
	}
	const path = "testdata/fingerprints.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || b.String() != string(want) {
		t.Errorf("%v\n%s\nwant:\n%s", err, b.String(), want)
	}
}

// spreadOf places the pods and counts them by host and zone.
func spreadOf(t *testing.T, v View, o Options) (hosts, zones map[string]int) {
	t.Helper()
	p := Place(v, o)
	if len(p.Pending) > 0 {
		t.Fatalf("pending: %v", p.Pending)
	}
	zone := map[string]string{}
	for _, h := range v.Hosts {
		zone[h.ID], _ = labelOf(h.Labels, "topology.kubernetes.io/zone")
	}
	hosts, zones = map[string]int{}, map[string]int{}
	for _, b := range p.Binds {
		hosts[b.Host]++
		zones[zone[b.Host]]++
	}
	return hosts, zones
}

func TestReplicasGoToDifferentHostsAndZones(t *testing.T) {
	hosts, _ := spreadOf(t, View{Hosts: hostsOf(6, 4000, 16), Pods: podsOf(6, "web", nil)}, Options{})
	if len(hosts) != 6 {
		t.Errorf("six replicas on six hosts: %v", hosts)
	}
	hosts, zones := spreadOf(t, View{Hosts: hostsOf(6, 4000, 16), Pods: podsOf(3, "web", nil)}, Options{})
	if len(hosts) != 3 || len(zones) != 3 {
		t.Errorf("three replicas in three zones: %v %v", hosts, zones)
	}
}

func TestPreferences(t *testing.T) {
	ssd := func(v *View) { v.Hosts[7].Labels = append(v.Hosts[7].Labels, Label{"ssd", "yes"}) }
	term := Term{Labels: []Requirement{{"ssd", Exists, nil}}}
	for _, c := range []struct {
		name string
		view func(v *View)
		pod  func(p *Pod)
		good func(host string) bool
	}{
		{"preferred node affinity finds the one host of many", ssd, func(p *Pod) { p.Preferred = []WeightedTerm{{term, 1}} }, func(h string) bool { return h == "h7" }},
		{"untolerated soft taints are avoided", func(v *View) {
			for i := range v.Hosts {
				if i != 5 {
					v.Hosts[i].Taints = []Taint{{"old", "", PreferNoSchedule}}
				}
			}
		}, nil, func(h string) bool { return h == "h5" }},
		{"pods near", func(v *View) { v.Pods = append(v.Pods, podsOf(1, "db", func(p *Pod) { p.Host = "h9" })...) },
			func(p *Pod) {
				p.PrefersNear = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app("db"), Weight: 9}}
			}, func(h string) bool { return h == "h9" }},
		{"existing pods that want it near", func(v *View) {
			v.Pods = append(v.Pods, podsOf(1, "db", func(p *Pod) {
				p.Host = "h9"
				p.PrefersNear = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app("x"), Weight: 9}}
			})...)
		}, nil, func(h string) bool { return h == "h9" }},
		{"pods apart", func(v *View) {
			for i := range 29 {
				v.Pods = append(v.Pods, podsOf(1, fmt.Sprint("db", i), func(p *Pod) { p.Host = fmt.Sprint("h", i); p.Labels = []Label{{"app", "db"}} })...)
			}
		}, func(p *Pod) {
			p.PrefersApart = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app("db"), Weight: 1}}
		}, func(h string) bool { return h == "h29" }},
		{"soft spread", func(v *View) {
			for i := range 20 {
				v.Pods = append(v.Pods, podsOf(1, fmt.Sprint("y", i), func(p *Pod) { p.Host = fmt.Sprint("h", i*3%30); p.Labels = []Label{{"app", "x"}} })...)
			}
		}, func(p *Pod) {
			p.Spread = []Spread{{Topology: "topology.kubernetes.io/zone", MaxSkew: 1, Match: app("x")}}
		}, func(h string) bool { return h != "h0" && h != "h3" }},
	} {
		v := View{Hosts: hostsOf(30, 4000, 16), Pods: podsOf(1, "x", c.pod)}
		c.view(&v)
		p := Place(v, Options{})
		if len(p.Binds) != 1 || !c.good(p.Binds[0].Host) {
			t.Errorf("%s: %v", c.name, p)
		}
	}
}

// No terms at all demand nothing; a list without terms accepts no host, and so does a term without requirements.
func TestRequiredWithoutTerms(t *testing.T) {
	for _, c := range []struct {
		required []Term
		fits     bool
	}{{nil, true}, {[]Term{}, false}, {[]Term{{}}, false}, {[]Term{{}, {Labels: []Requirement{{"kubernetes.io/hostname", Exists, nil}}}}, true}} {
		v := View{Hosts: hostsOf(3, 4000, 16), Pods: podsOf(2, "x", nil)}
		v.Pods[0].Required = c.required // beside one that demands nothing
		p := Place(v, Options{})
		if fits := len(p.Pending) == 0; fits != c.fits || len(p.Binds) < 1 {
			t.Errorf("required %#v: %v", c.required, p)
		}
		if !c.fits && p.Pending[0].String() != "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector." {
			t.Errorf("required %#v: %s", c.required, p.Pending[0])
		}
	}
}

func TestPriorityComesFirst(t *testing.T) {
	v := View{Hosts: hostsOf(1, 1000, 16), Pods: slices.Concat(
		podsOf(9, "low", nil), podsOf(10, "high", func(p *Pod) { p.Priority = 5 }))}
	p := Place(v, Options{})
	for _, w := range p.Pending {
		if !strings.HasPrefix(w.Pod, "low") {
			t.Errorf("%s is pending", w.Pod)
		}
	}
	if len(p.Binds) != 10 || p.Pending[0].String() != "0/1 nodes are available: 1 Insufficient cpu." {
		t.Errorf("%v", p)
	}
}

// A chain of affinities in the worst order is solved, each link as soon as it can be.
func TestCompanyIsAwaited(t *testing.T) {
	v := View{Hosts: hostsOf(3, 64000, 256)}
	for i := range 40 {
		v.Pods = append(v.Pods, podsOf(1, fmt.Sprint("link", i), func(p *Pod) {
			p.Priority = int32(i) // the last link is tried first
			if i > 0 {
				p.Affinity = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app(fmt.Sprint("link", i-1))}}
			}
		})...)
	}
	if hosts, _ := spreadOf(t, v, Options{}); len(hosts) != 1 {
		t.Errorf("the chain is torn: %v", hosts)
	}
}

// Shares are in proportion to size, whatever the names look like. Plain FNV fails this.
func TestRendezvousIsFair(t *testing.T) {
	const pods = 20000
	for _, names := range []string{"node-%d", "10.0.0.%d", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%d"} {
		v := View{}
		var sum float64
		for i := range 20 {
			k := int64(1) << (i % 3)
			sum += float64(k)
			v.Hosts = append(v.Hosts, Host{ID: fmt.Sprintf(names, i), Allocatable: Resources{CPU: 8000 * k, Memory: k << 35, Pods: pods}})
		}
		for i := range pods {
			v.Pods = append(v.Pods, Pod{UID: fmt.Sprintf("pod-%d", i)})
		}
		got := map[string]int{}
		for _, b := range Place(v, Options{Candidates: 1}).Binds {
			got[b.Host]++
		}
		var chi float64
		for i, h := range v.Hosts {
			want := pods * float64(int(1)<<(i%3)) / sum
			chi += (float64(got[h.ID]) - want) * (float64(got[h.ID]) - want) / want
		}
		if chi > 43.8 { // 19 degrees of freedom, one in a thousand
			t.Errorf("names like %q: chi² = %.1f", names, chi)
		}
	}
}

// Equal pods on equal hosts: the fullest host has little more than the mean.
func TestEqualPodsSpreadEvenly(t *testing.T) {
	v := View{Hosts: hostsOf(100, 64000, 256)}
	for i := range 5000 {
		v.Pods = append(v.Pods, Pod{UID: fmt.Sprint("pod-", i), Requests: Resources{CPU: 500, Memory: 2 << 30}})
	}
	hosts, _ := spreadOf(t, v, Options{})
	most := 0
	for _, n := range hosts {
		most = max(most, n)
	}
	if most > 52 {
		t.Errorf("the fullest of 100 hosts has %d pods, the mean is 50", most)
	}
}

// Only the pods of the lost host get a new one.
func TestLossMovesNothingElse(t *testing.T) {
	v := View{Hosts: hostsOf(10, 4000, 16), Pods: podsOf(200, "web", nil)}
	v = carryOut(v, Place(v, Options{}))
	lost := 0
	for i := range v.Pods {
		if v.Pods[i].Host == "h4" {
			v.Pods[i].Host = ""
			lost++
		}
	}
	v.Hosts[4].NotReady = "out of sight"
	if p := Place(v, Options{}); len(p.Binds) != lost || len(p.Pending) > 0 {
		t.Errorf("%d pods lost, %d placed, %d pending", lost, len(p.Binds), len(p.Pending))
	}
}

func TestNegLog2(t *testing.T) {
	logs, r := newLogTable(), rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		h := r.Uint64() >> r.IntN(64)
		want := 64 - math.Log2(float64(max(h, 1)))
		if got := float64(logs.negLog2(h)) / (1 << logBits); math.Abs(got-want) > 3e-6 {
			t.Fatalf("-log2(%d/2^64) = %f, want %f", h, got, want)
		}
		if 128*lowerBound(h) > 89*(logs.negLog2(h)>>4) {
			t.Fatalf("the bound of %d is %d, its logarithm %d", h, lowerBound(h), logs.negLog2(h)>>4)
		}
	}
	for y := range uint64(1 << 20) {
		if h := ^(y << (64 - logBits)); 128*lowerBound(h) > 89*(logs.negLog2(h)>>4) {
			t.Fatalf("the bound of %d is %d, its logarithm %d", h, lowerBound(h), logs.negLog2(h)>>4)
		}
	}
	far := logs.negLog2(0) >> 4
	hi, _ := bits.Mul64(far*inverse(0), prices[len(prices)-1])
	if hi != 0 {
		t.Error("the longest distance overflows")
	}
	for h := uint64(1); h < 1<<16; h++ {
		if logs.negLog2(h) < logs.negLog2(h+1) {
			t.Fatalf("not monotone at %d", h)
		}
	}
}

func TestMessages(t *testing.T) {
	for _, c := range []struct {
		p    Pending
		want string
	}{
		{Pending{}, "no nodes available to schedule pods"},
		{Pending{Hosts: 3, Reasons: []Reason{{"node(s) were unschedulable", 2}, {"Insufficient cpu", 1}}},
			"0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable."},
		{Pending{Reasons: []Reason{{Text: "the pod cannot be placed: no UID"}}}, "the pod cannot be placed: no UID"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	bad := View{
		Hosts: []Host{{ID: "a", Allocatable: Resources{CPU: -1}}, {ID: "b"}, {ID: "b"}, {}},
		Pods: []Pod{{UID: "p"}, {UID: "p"}, {UID: "q", Requests: Resources{Extended: []Amount{{"x", 1}, {"x", 2}}}},
			{UID: "r", Spread: []Spread{{Topology: "zone"}}}, {UID: "s", Required: []Term{{Fields: []Requirement{{"metadata.uid", In, []string{"x"}}}}}},
			{UID: "t", PrefersNear: []PodTerm{{Topology: "zone", Weight: 101}}}, {UID: "u", Ports: []HostPort{{}}}},
	}
	want := `host "": no ID
host "a": allocatable: cpu -1 is not between 0 and 2^60
host "b": its ID is there twice
pod "p": its UID is there twice
pod "q": requests: resource "x" is there twice
pod "r": topology spread over zone: maxSkew 0 is below 1
pod "s": required node affinity: field "metadata.uid": only metadata.name can be matched
pod "t": preferred pod affinity: weight 101 is not between 1 and 100
pod "u": host port 0 is not between 1 and 65535`
	if err := Validate(bad); fmt.Sprint(err) != want {
		t.Errorf("%v", err)
	}
	if err := Validate(View{Hosts: hostsOf(2, 1, 1), Pods: podsOf(2, "x", nil)}); err != nil {
		t.Error(err)
	}
}

// While pods leave a host that is promised to another, whatever is decided after it takes nothing of what is promised, be it of
// the same priority, like the one that starts anew elsewhere for who made way.
func TestPromisedRoomIsKeptWhilePodsLeave(t *testing.T) {
	for _, priority := range []int32{0, 1} {
		big := podsOf(1, "big", func(p *Pod) { p.Requests.CPU, p.Nominated, p.Priority = 6000, "h0", priority })
		leaving := podsOf(1, "left", func(p *Pod) { p.Requests.CPU, p.Host, p.Leaving = 3000, "h0", true })
		anew := podsOf(1, "web", func(p *Pod) { p.Requests.CPU, p.Hosts = 3000, []string{"h0"} })
		plan := Place(View{Hosts: hostsOf(1, 8000, 64), Pods: append(append(big, leaving...), anew...)}, Options{})
		if len(plan.Binds) != 0 {
			t.Errorf("priority %d: %+v", priority, plan.Binds)
		}
	}
}

// Room that one pod gets by preemption is not counted on for the next: who would leave in vain stays.
func TestPreemptionsOfOnePlanFitOneAnother(t *testing.T) {
	low := func(cpu int64) func(p *Pod) { return func(p *Pod) { p.Requests, p.Host = Resources{CPU: cpu}, "h0" } }
	high := func(cpu int64) func(p *Pod) {
		return func(p *Pod) { p.Requests, p.Priority = Resources{CPU: cpu}, 9 }
	}
	port := func(p *Pod) { high(1000)(p); p.Ports = []HostPort{{"", "TCP", 80}} }
	apart := func(p *Pod) {
		high(1000)(p)
		p.AntiAffinity = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app("high")}}
	}
	for _, c := range []struct {
		name     string
		run      []Pod
		wait     []Pod
		promised int
		leave    int
	}{
		{"two pods want the room of one", podsOf(2, "low", low(2000)), podsOf(2, "high", high(4000)), 1, 1},
		{"either has a victim of its own", podsOf(2, "low", low(3000)), podsOf(2, "high", high(3000)), 2, 2},
		{"one victim leaves room for two", podsOf(1, "low", low(6000)), podsOf(2, "high", high(3000)), 2, 1},
		{"one victim and what it leaves over makes room for the second with another", podsOf(2, "low", low(3000)), podsOf(2, "high", high(2500)), 2, 2},
		{"both want one host port", podsOf(6, "low", low(1000)), podsOf(2, "high", port), 1, 1},
		{"both want a host of their own", podsOf(6, "low", low(1000)), podsOf(2, "high", apart), 1, 1},
	} {
		v := View{Hosts: hostsOf(1, 6000, 64), Pods: slices.Concat(c.run, c.wait)}
		p := Place(v, Options{Preempt: true})
		leave := 0
		for _, x := range p.Preemptions {
			leave += len(x.Victims)
		}
		if len(p.Preemptions) != c.promised || leave != c.leave || len(p.Pending) != len(c.wait) {
			t.Errorf("%s: %+v", c.name, p.Preemptions)
		}
		v = carryOut(v, p)
		if again := Place(v, Options{Preempt: true}); len(again.Preemptions) != 0 {
			t.Errorf("%s: while victims leave more have to: %+v", c.name, again.Preemptions)
		}
		v.Pods = slices.DeleteFunc(v.Pods, func(p Pod) bool { return p.Leaving })
		if last := Place(v, Options{Preempt: true}); len(last.Binds) != c.promised {
			t.Errorf("%s: once the victims are gone %d pods are bound", c.name, len(last.Binds))
		}
	}
}

// Of two pods with one UID neither is placed, and which came first changes nothing for others: not even when one is gated, and only the
// price of the room that both ask for is left of them.
func TestTwinsCountAlikeInAnyOrder(t *testing.T) {
	gated := Pod{UID: "twin", Gated: true, Required: []Term{{Fields: []Requirement{{Key: "metadata.name", Op: NotIn, Values: []string{"h0"}}}}}, Requests: Resources{CPU: 3000}}
	plain := Pod{UID: "twin", Requests: Resources{CPU: 10}}
	view := func(a, b Pod) View {
		return View{Hosts: hostsOf(2, 4000, 16), Pods: append([]Pod{a, b}, podsOf(8, "web", nil)...)}
	}
	a, b := Place(view(gated, plain), Options{}), Place(view(plain, gated), Options{})
	if spell(a) != spell(b) {
		t.Errorf("plans differ:\n%s\n%s", spell(a), spell(b))
	}
	if len(a.Binds) != 8 || len(a.Pending) != 1 || a.Pending[0].Pod != "twin" {
		t.Errorf("%s", spell(a))
	}
}

// Room that a pod leaves for a newcomer is for who waits, in the same Plan: else the Plan would call a pod refused that fits.
func TestWhatARebalancingLeavesIsUsed(t *testing.T) {
	v := View{Hosts: hostsOf(4, 4000, 16), Pods: podsOf(12, "web", nil)}
	v.Hosts[0].Allocatable.Pods = 3
	v.Hosts[0].Labels = append(v.Hosts[0].Labels, Label{"ssd", "yes"})
	v.Hosts[3].Joined = true
	for i := range v.Pods[:9] {
		v.Pods[i].Host = v.Hosts[i%3].ID
	}
	for i := range v.Pods[9:] {
		v.Pods[9+i].Selector = []Label{{"ssd", "yes"}}
	}
	o := Options{Rebalance: Eager}
	p := Place(v, o)
	if err := check(v, o, p); err != nil {
		t.Error(err)
	}
	left := 0
	for _, m := range p.Moves {
		if m.From == v.Hosts[0].ID {
			left++
		}
	}
	if left == 0 || len(p.Binds) != left {
		t.Errorf("%d pods left the host for which others wait, and %d of these were bound: %s", left, len(p.Binds), spell(p))
	}
}

// A Plan moves a pod that runs at most once.
func TestNoPodMovesTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := View{Hosts: hostsOf(4, 20, 16), Pods: podsOf(rapid.IntRange(4, 10).Draw(t, "run"), "web", func(p *Pod) { p.Requests = Resources{CPU: rapid.Int64Range(1, 9).Draw(t, "cpu")} })}
		for i := range v.Pods {
			v.Pods[i].Host = v.Hosts[i%4].ID
		}
		for i := range rapid.IntRange(2, 8).Draw(t, "wait") {
			v.Pods = append(v.Pods, Pod{UID: fmt.Sprint("w", i), Requests: Resources{CPU: rapid.Int64Range(3, 12).Draw(t, "cpu")}})
		}
		o := Options{Moves: 8, Preempt: true}
		if err := check(v, o, Place(v, o)); err != nil {
			t.Fatal(err)
		}
	})
}
