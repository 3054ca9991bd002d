package placement

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A planted instance is made by placing pods until no host has room below the fill, so a perfect placement is known to
// exist. The generator then forgets it. Hosts are of four sizes in nine zones, with rare labels and taints; workloads
// have 1 to 200 replicas, some that must keep apart or spread over zones, take host ports or need a label.

type plant struct {
	hosts []plantHost
	apps  []plantApp
	pods  []plantPod
}

type plantHost struct {
	cpu, memory, pods             int64
	freeCPU, freeMemory, freePods int64
	zone                          int
	labels                        [4]bool
	tainted                       bool
	ports                         [4]bool
}

type plantApp struct {
	apart, spread, tolerates bool
	needs                    int // label, −1: none
	port                     int // −1: none
	on                       map[int]bool
	zones                    [9]int
}

type plantPod struct {
	app, at     int
	cpu, memory int64
}

func newPlant(seed uint64, hosts int, fill float64) *plant {
	r := rand.New(rand.NewPCG(seed, 7))
	w := &plant{}
	for i := range hosts {
		k := int64(8000) << r.IntN(4)
		h := plantHost{cpu: k, memory: k * []int64{2, 4, 4, 4, 8}[r.IntN(5)] * 1024 / 1000, pods: 250, zone: i % 9}
		h.labels = [4]bool{r.IntN(5) == 0, r.IntN(10) == 0, r.IntN(3) == 0, r.IntN(20) == 0}
		h.tainted = r.IntN(20) == 0
		w.hosts = append(w.hosts, h)
	}
	w.reset()
	for fails := 0; fails < 200; {
		if w.grow(r, fill) {
			fails = 0
		} else {
			fails++
		}
	}
	return w
}

func (w *plant) reset() {
	for i := range w.hosts {
		h := &w.hosts[i]
		h.freeCPU, h.freeMemory, h.freePods, h.ports = h.cpu, h.memory, h.pods, [4]bool{}
	}
	for i := range w.apps {
		w.apps[i].on, w.apps[i].zones = map[int]bool{}, [9]int{}
	}
	for i := range w.pods {
		w.pods[i].at = -1
	}
}

// grow plants one more workload, as many of its replicas as have room.
func (w *plant) grow(r *rand.Rand, fill float64) bool {
	replicas := []func() int{func() int { return 1 }, func() int { return 2 + r.IntN(2) }, func() int { return 3 + r.IntN(8) }, func() int { return 10 + r.IntN(190) }}[r.IntN(4)]()
	a := plantApp{needs: -1, port: -1, on: map[int]bool{}}
	if replicas > 1 {
		a.apart, a.spread = r.IntN(5) == 0 && replicas <= 100, r.IntN(5) == 0
	}
	if r.IntN(5) == 0 {
		a.needs = r.IntN(4)
	}
	if replicas <= 50 && r.IntN(50) == 0 {
		a.port = r.IntN(4)
	}
	a.tolerates = r.IntN(16) == 0
	cpu := []int64{50, 100, 100, 250, 250, 500, 500, 1000, 1000, 2000, 4000, 7000}[r.IntN(12)]
	memory := max(int64(float64(cpu)*4.096*math.Exp(r.NormFloat64()*.45)), 32)
	w.apps = append(w.apps, a)
	placed := 0
	for range replicas {
		p := plantPod{app: len(w.apps) - 1, cpu: cpu, memory: memory, at: -1}
		best, skew := -1, math.Inf(1)
		for start, tried, seen := r.IntN(len(w.hosts)), 0, 0; tried < len(w.hosts) && seen < 12; tried++ {
			i := (start + tried*7) % len(w.hosts)
			h := &w.hosts[i]
			c, m := float64(h.cpu-h.freeCPU+cpu)/float64(h.cpu), float64(h.memory-h.freeMemory+memory)/float64(h.memory)
			if c > fill || m > fill || !w.allowed(&p, i) {
				continue
			}
			seen++
			if math.Abs(c-m) < skew {
				best, skew = i, math.Abs(c-m)
			}
		}
		if best < 0 {
			break
		}
		w.pods = append(w.pods, p)
		w.put(len(w.pods)-1, best)
		placed++
	}
	return placed > 0
}

func (w *plant) allowed(p *plantPod, i int) bool {
	h, a := &w.hosts[i], &w.apps[p.app]
	if p.cpu > h.freeCPU || p.memory > h.freeMemory || h.freePods < 1 || h.tainted && !a.tolerates ||
		a.needs >= 0 && !h.labels[a.needs] || a.port >= 0 && h.ports[a.port] || a.apart && a.on[i] {
		return false
	}
	if !a.spread {
		return true
	}
	least := a.zones[0]
	for _, n := range a.zones {
		least = min(least, n)
	}
	return a.zones[h.zone]+1-least <= 1
}

func (w *plant) put(pod, i int) {
	p := &w.pods[pod]
	h, a := &w.hosts[i], &w.apps[p.app]
	h.freeCPU, h.freeMemory, h.freePods = h.freeCPU-p.cpu, h.freeMemory-p.memory, h.freePods-1
	if a.port >= 0 {
		h.ports[a.port] = true
	}
	a.on[i] = true
	a.zones[h.zone]++
	p.at = i
}

// view is the instance as Place sees it.
func (w *plant) view() View {
	var v View
	for i, h := range w.hosts {
		x := Host{ID: fmt.Sprintf("host-%04d", i), Name: fmt.Sprintf("h%04d", i), Allocatable: Resources{CPU: h.cpu, Memory: h.memory << 20, Pods: h.pods}}
		x.Labels = []Label{{"kubernetes.io/hostname", x.Name}, {"topology.kubernetes.io/zone", fmt.Sprint("z", h.zone)}}
		for l, has := range h.labels {
			if has {
				x.Labels = append(x.Labels, Label{fmt.Sprint("l", l), "yes"})
			}
		}
		if h.tainted {
			x.Taints = []Taint{{"dedicated", "", NoSchedule}}
		}
		v.Hosts = append(v.Hosts, x)
	}
	for i, p := range w.pods {
		a := &w.apps[p.app]
		app := []Requirement{{"app", In, []string{fmt.Sprint("a", p.app)}}}
		x := Pod{UID: fmt.Sprintf("pod-%06d", i), Namespace: "default", Owner: fmt.Sprint("a", p.app),
			Labels: []Label{{"app", fmt.Sprint("a", p.app)}}, Requests: Resources{CPU: p.cpu, Memory: p.memory << 20}}
		if a.needs >= 0 {
			x.Selector = []Label{{fmt.Sprint("l", a.needs), "yes"}}
		}
		if a.apart {
			x.AntiAffinity = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app}}
		}
		if a.spread {
			x.Spread = []Spread{{Topology: "topology.kubernetes.io/zone", MaxSkew: 1, Hard: true, Match: app, IgnoreAffinity: true}}
		}
		if a.port >= 0 {
			x.Ports = []HostPort{{"", "TCP", int32(8000 + a.port)}}
		}
		if a.tolerates {
			x.Tolerations = []Toleration{{Exists: true, AnyEffect: true}}
		}
		v.Pods = append(v.Pods, x)
	}
	return v
}

// central is the simple scheduler to compare with: one pod after the other as they arrive, all hosts looked at, the best
// score wins.
func (w *plant) central(score func(cpu, memory float64) float64) (unplaced int, demand float64) {
	w.reset()
	for j := range w.pods {
		p := &w.pods[j]
		best := w.best(p, score)
		if best >= 0 {
			w.put(j, best)
		}
	}
	return w.left(func(i int) bool { return w.pods[i].at < 0 })
}

// best is the host with the best score of those that p may go to, -1 where there is none.
func (w *plant) best(p *plantPod, score func(cpu, memory float64) float64) int {
	best, top := -1, math.Inf(-1)
	for i := range w.hosts {
		if !w.allowed(p, i) {
			continue
		}
		h := &w.hosts[i]
		s := score(float64(h.cpu-h.freeCPU+p.cpu)/float64(h.cpu), float64(h.memory-h.freeMemory+p.memory)/float64(h.memory))
		if s > top {
			best, top = i, s
		}
	}
	return best
}

func (w *plant) left(out func(pod int) bool) (unplaced int, demand float64) {
	var all, lost float64
	for i := range w.pods {
		d := float64(w.pods[i].cpu) + float64(w.pods[i].memory)/4.096
		all += d
		if out(i) {
			unplaced++
			lost += d
		}
	}
	return unplaced, lost / all
}

func (w *plant) ours(o Options) (unplaced int, demand float64) {
	v := w.view()
	pending := map[string]bool{}
	for _, p := range Place(v, o).Pending {
		pending[p.Pod] = true
	}
	return w.left(func(i int) bool { return pending[v.Pods[i].UID] })
}

func leastAllocated(c, m float64) float64 { return -c - m }
func mostAllocated(c, m float64) float64  { return c + m }
func kubernetes(c, m float64) float64     { return (2-c-m)/2 + 1 - math.Abs(c-m)/2 }

// Where a perfect placement exists, Place finds one up to 95 % and leaves out half a per cent at most at 98 %, less unplaced than central schedulers that see
// every host. 1,000 hosts and 20 seeds: go test -bench Seeds.
func TestPlantedPacking(t *testing.T) {
	for _, fill := range []float64{.8, .9, .95, .98} {
		for seed := range uint64(3) {
			w := newPlant(seed, 200, fill)
			n, ours := w.ours(Options{})
			_, packed := w.ours(Options{Pack: true})
			_, least := w.central(leastAllocated)
			_, most := w.central(mostAllocated)
			_, kube := w.central(kubernetes)
			t.Logf("fill %.2f seed %d, %d pods: unplaced %d, demand lost: spread %.3f%% pack %.3f%%; central least %.3f%% most %.3f%% least+balanced %.3f%%",
				fill, seed, len(w.pods), n, 100*ours, 100*packed, 100*least, 100*most, 100*kube)
			if ours > min(least, kube)+.0005 || packed > most || fill < .96 && n > 0 || ours > .005 {
				t.Errorf("fill %.2f seed %d: %d pods are unplaced", fill, seed, n)
			}
		}
	}
}

// BenchmarkSeeds shows the mean and the worst of 20 planted instances, and the central schedulers on the same.
func BenchmarkSeeds(b *testing.B) {
	for _, fill := range []float64{.8, .9, .95, .98} {
		b.Run(fmt.Sprintf("fill=%.2f", fill), func(b *testing.B) {
			var sum, worst, least, most, kube float64
			pods, imperfect := 0, 0
			for b.Loop() {
				for seed := range uint64(20) {
					w := newPlant(100+seed, 1000, fill)
					n, lost := w.ours(Options{})
					sum, worst, pods = sum+lost, max(worst, lost), pods+n
					if n > 0 {
						imperfect++
					}
					_, l := w.central(leastAllocated)
					_, m := w.central(mostAllocated)
					_, k := w.central(kubernetes)
					least, most, kube = least+l, most+m, kube+k
				}
			}
			n := float64(20 * b.N)
			b.ReportMetric(100*sum/n, "%lost")
			b.ReportMetric(100*worst, "%worst")
			b.ReportMetric(float64(pods)/n, "pods-out/seed")
			b.ReportMetric(float64(imperfect)/float64(b.N), "seeds-with-any")
			b.ReportMetric(100*least/n, "%least")
			b.ReportMetric(100*most/n, "%most")
			b.ReportMetric(100*kube/n, "%kube")
		})
	}
}

func BenchmarkPlanted(b *testing.B) {
	for _, fill := range []float64{.8, .9, .95} {
		w := newPlant(1, 1000, fill)
		v := w.view()
		for _, m := range []struct {
			name string
			o    Options
		}{{"spread", Options{}}, {"pack", Options{Pack: true}}} {
			b.Run(fmt.Sprintf("fill=%.2f/%s", fill, m.name), func(b *testing.B) {
				for b.Loop() {
					Place(v, m.o)
				}
				_, lost := w.ours(m.o)
				b.ReportMetric(float64(len(v.Pods)*b.N)/b.Elapsed().Seconds(), "pods/s")
				b.ReportMetric(100*lost, "%lost")
			})
		}
		for _, m := range []struct {
			name  string
			score func(c, m float64) float64
			sort  bool
		}{{"central-least", leastAllocated, false}, {"central-most", mostAllocated, false}, {"central-kubernetes", kubernetes, false},
			{"central-kubernetes-large-first", kubernetes, true}, {"central-most-large-first", mostAllocated, true}} {
			b.Run(fmt.Sprintf("fill=%.2f/%s", fill, m.name), func(b *testing.B) {
				w := newPlant(1, 1000, fill)
				if m.sort {
					slices.SortStableFunc(w.pods, func(a, b plantPod) int { return cmp.Compare(size(b.cpu, b.memory<<20), size(a.cpu, a.memory<<20)) })
				}
				b.ResetTimer()
				var lost float64
				for b.Loop() {
					_, lost = w.central(m.score)
				}
				b.ReportMetric(float64(len(v.Pods)*b.N)/b.Elapsed().Seconds(), "pods/s")
				b.ReportMetric(100*lost, "%lost")
			})
		}
	}
}
