package placement

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

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
			s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: v.Budgets})
			promised := promisedIn(v)
			runtime.GC()
			b.ReportAllocs()
			from := cpu()
			for b.Loop() {
				s.vacate(promised)
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
	s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: v.Budgets})
	promised := promisedIn(v)
	s.vacate(promised)
	s.Apply(Delta{})
	allocs := testing.AllocsPerRun(2, func() {
		s.vacate(promised)
		s.Apply(Delta{})
	})
	t.Logf("%.0f allocations for %d pods", allocs, len(v.Pods))
	if allocs > 200 {
		t.Errorf("%.0f allocations for %d pods", allocs, len(v.Pods))
	}
}

// vacate takes every pod off its host and lets it wait, as if nothing were placed, and gives back what was promised.
func (s *State) vacate(promised []Pod) {
	w := s.w
	for i := range w.pods {
		if r := &w.pods[i]; r.host >= 0 && !r.leaving {
			w.unsettle(int32(i))
			r.claim = ""
			w.await(int32(i))
		}
	}
	for _, p := range promised {
		w.pods[w.byUID[p.UID]].nominated = p.Nominated
	}
}

func promisedIn(v View) (out []Pod) {
	for _, p := range v.Pods {
		if p.Nominated != "" {
			out = append(out, p)
		}
	}
	return out
}

// One host of 1,000 is lost with its pods, and comes back; those that carry none are passed over.
func BenchmarkLoss(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	v := mixed(1, 1000, 50000)
	s := NewState(Options{})
	s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: v.Budgets})
	pods := map[string]Pod{}
	for _, p := range v.Pods {
		p.Nominated = ""
		pods[p.UID] = p
	}
	hosts := slices.DeleteFunc(v.Hosts, func(h Host) bool { return len(s.on(h.ID)) == 0 })
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	var spent time.Duration
	lost, moved, n := 0, 0, 0
	for b.Loop() {
		h := hosts[n%len(hosts)]
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
	b.ReportMetric(50*float64(spent.Microseconds())/float64(lost), "cpu-µs/50-pods")
	b.ReportMetric(float64(lost)/float64(n), "pods/loss")
	b.ReportMetric(float64(moved)/float64(n), "placed/loss")
}

// on lists the pods of a host, without those that are leaving.
func (s *State) on(id string) (uids []string) {
	if h, is := s.w.byID[id]; is {
		for p := s.w.heads[h]; p >= 0; p = s.w.pods[p].next {
			if r := &s.w.pods[p]; !r.leaving {
				uids = append(uids, r.uid)
			}
		}
	}
	return uids
}
