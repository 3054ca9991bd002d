package placement

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// mixed is a cluster in which every kind of constraint occurs: about 70 % full, workloads of 1 to 200 replicas, six in
// ten without wishes of their own, the others with one or two each.
func mixed(seed uint64, hosts, pods int) View {
	r := rand.New(rand.NewPCG(seed, 11))
	var v View
	for i := range hosts {
		k := int64(1) << r.IntN(4)
		h := Host{ID: fmt.Sprintf("host-%05d", i), Name: fmt.Sprintf("h%05d", i), Allocatable: Resources{
			CPU: 8000 * k, Memory: k << 30 * []int64{16, 32, 32, 64}[r.IntN(4)], Disk: 100 << 30 * k, Pods: 250}}
		h.Labels = []Label{{"kubernetes.io/hostname", h.Name}, {"topology.kubernetes.io/zone", fmt.Sprint("z", i%9)},
			{"kubernetes.io/arch", []string{"amd64", "amd64", "amd64", "arm64"}[r.IntN(4)]}, {"kubernetes.io/os", "linux"}}
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
		v.Hosts = append(v.Hosts, h)
	}
	for a := 0; len(v.Pods) < pods; a++ {
		replicas := []int{1, 2 + r.IntN(2), 3 + r.IntN(8), 10 + r.IntN(190)}[r.IntN(4)]
		p := mixedPod(r, a, hosts, replicas)
		for i := range min(replicas, pods-len(v.Pods)) {
			p.UID, p.Name = fmt.Sprintf("%08x-%04x-4000-8000-%012x", a, i, seed), fmt.Sprintf("app-%d-%d", a, i)
			v.Pods = append(v.Pods, p)
		}
	}
	return v
}

func mixedPod(r *rand.Rand, a, hosts, replicas int) Pod {
	cpu := []int64{50, 100, 100, 250, 250, 500, 1000}[r.IntN(7)]
	p := Pod{Namespace: fmt.Sprint("n", a%20), Owner: fmt.Sprint("owner-", a), Labels: []Label{{"app", fmt.Sprint("a", a)}, {"tier", fmt.Sprint("t", a%5)}},
		Requests: Resources{CPU: cpu, Memory: cpu << 20 * []int64{2, 4, 4, 8}[r.IntN(4)], Disk: 1 << 28, Pods: 1}}
	own := []Requirement{{"app", In, []string{fmt.Sprint("a", a)}}}
	zone, host := "topology.kubernetes.io/zone", "kubernetes.io/hostname"
	switch k := r.IntN(40); k {
	case 0:
		p.Selector = []Label{{"disk", "ssd"}}
	case 1:
		p.Required = []Term{{Labels: []Requirement{{"kubernetes.io/arch", In, []string{"arm64"}}}}}
	case 2:
		p.Preferred = []WeightedTerm{{Term{Labels: []Requirement{{"disk", In, []string{"ssd"}}}}, 50}}
	case 3:
		p.Affinity = []PodTerm{{Topology: zone, Match: own}}
	case 4, 5:
		if replicas <= hosts/10 {
			p.AntiAffinity = []PodTerm{{Topology: host, Match: own}}
		}
	case 6:
		p.PrefersNear = []PodTerm{{Topology: zone, Match: []Requirement{{"tier", In, []string{"t1"}}}, Weight: 20}}
	case 7:
		p.PrefersApart = []PodTerm{{Topology: host, Match: own, Weight: 100}}
	case 8, 9:
		p.Spread = []Spread{{Topology: zone, MaxSkew: 1, Hard: true, Match: own}}
	case 10:
		p.Spread = []Spread{{Topology: zone, MaxSkew: 1, Match: own}, {Topology: host, MaxSkew: 1, Match: own}}
	case 11:
		if replicas <= hosts/10 {
			p.Ports = []HostPort{{"", "TCP", int32(8000 + a%50)}}
		}
	case 12:
		if replicas < 5 {
			p.Requests.Extended = []Amount{{"nvidia.com/gpu", 1}}
		}
	case 13:
		p.Tolerations = []Toleration{{Key: "dedicated", Value: "batch", Effect: NoSchedule}, {Key: "sick", Exists: true, AnyEffect: true}}
	case 14:
		if replicas < 5 {
			p.Hosts = []string{fmt.Sprintf("host-%05d", r.IntN(hosts)), fmt.Sprintf("host-%05d", r.IntN(hosts))}
		}
	case 15:
		p.Priority = 1000
	}
	return p
}

// cpu is the processor time of this process; the machine may be busy with other things.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU gives pods and microseconds by processor time, of one core.
func reportCPU(b *testing.B, pods int, spent time.Duration) {
	b.ReportMetric(float64(pods*b.N)/spent.Seconds(), "pods/cpu-s")
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "cpu-µs/op")
}

// Everything anew: the first View of a node that starts.
func BenchmarkPlace(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, size := range []struct{ pods, hosts int }{{10000, 1000}, {50000, 1000}, {250000, 5000}} {
		v := mixed(1, size.hosts, size.pods)
		b.Run(fmt.Sprintf("cold/%dx%d", size.pods, size.hosts), func(b *testing.B) {
			runtime.GC()
			var pending int
			from := cpu()
			for b.Loop() {
				pending = len(Place(v, Options{}).Pending)
			}
			reportCPU(b, size.pods, cpu()-from)
			b.ReportMetric(float64(pending), "pending")
		})
		b.Run(fmt.Sprintf("warm/%dx%d", size.pods, size.hosts), func(b *testing.B) {
			s := NewState(Options{})
			s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods})
			runtime.GC()
			b.ReportAllocs()
			from := cpu()
			for b.Loop() {
				s.vacate()
				s.Apply(Delta{})
			}
			reportCPU(b, size.pods, cpu()-from)
		})
	}
}

// A decision allocates for its Plan, not for its pods.
func TestDecisionsDoNotAllocate(t *testing.T) {
	v := mixed(1, 200, 4000)
	s := NewState(Options{})
	s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods})
	s.vacate()
	s.Apply(Delta{})
	allocs := testing.AllocsPerRun(2, func() {
		s.vacate()
		s.Apply(Delta{})
	})
	t.Logf("%.0f allocations for %d pods", allocs, len(v.Pods))
	if allocs > 200 {
		t.Errorf("%.0f allocations for %d pods", allocs, len(v.Pods))
	}
}

// vacate takes every pod off its host and lets it wait, as if nothing were placed.
func (s *State) vacate() {
	w := s.w
	for i := range w.pods {
		if r := &w.pods[i]; r.host >= 0 {
			w.unsettle(int32(i))
			r.claim = ""
			w.await(int32(i))
		}
	}
}

// One host of 1,000 is lost with its 50 pods, and comes back.
func BenchmarkLoss(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	v := mixed(1, 1000, 50000)
	s := NewState(Options{})
	s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods})
	pods := map[string]Pod{}
	for _, p := range v.Pods {
		pods[p.UID] = p
	}
	var spent time.Duration
	lost, moved, n := 0, 0, 0
	for b.Loop() {
		h := v.Hosts[n*7%len(v.Hosts)]
		n++
		d := Delta{Hosts: []Host{h}}
		d.Hosts[0].NotReady = "out of sight"
		for _, uid := range s.on(h.ID) {
			d.Pods = append(d.Pods, pods[uid])
		}
		from := cpu()
		plan := s.Apply(d)
		spent += cpu() - from
		lost, moved = lost+len(d.Pods), moved+len(plan.Binds)
		s.Apply(Delta{Hosts: []Host{h}})
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(n), "cpu-µs/loss")
	b.ReportMetric(float64(lost)/float64(n), "pods/loss")
	b.ReportMetric(float64(moved)/float64(n), "placed/loss")
}

// on lists the pods of a host.
func (s *State) on(id string) (uids []string) {
	if h, is := s.w.byID[id]; is {
		for p := s.w.heads[h]; p >= 0; p = s.w.pods[p].next {
			uids = append(uids, s.w.pods[p].uid)
		}
	}
	return uids
}
