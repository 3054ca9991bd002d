package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
)

// classes of priority that planted workloads have here, by turns.
const classes = 4

func (p *plantPod) priority() int { return p.app % classes }

// take undoes put.
func (w *plant) take(pod int) {
	p := &w.pods[pod]
	h, a := &w.hosts[p.at], &w.apps[p.app]
	h.freeCPU, h.freeMemory, h.freePods = h.freeCPU+p.cpu, h.freeMemory+p.memory, h.freePods+1
	if a.port >= 0 {
		h.ports[a.port] = false
	}
	a.on[p.at] = false // for those of which a host has one at most
	a.zones[h.zone]--
	p.at = -1
}

// centralWithPreemption is central for pods of several priorities: one that fits nowhere drives pods of lower priority off the host
// where the highest of them is lowest, then where they are fewest. Who was driven off is placed again, once the others are.
func (w *plant) centralWithPreemption(score func(cpu, memory float64) float64) (evicted int, lost [classes]float64) {
	w.reset()
	on := make([][]int, len(w.hosts))
	queue := make([]int, len(w.pods))
	for j := range queue {
		queue[j] = j
	}
	for n := 0; n < len(queue) && n < 4*len(w.pods); n++ {
		p := &w.pods[queue[n]]
		best := w.best(p, score)
		var victims []int
		if best < 0 {
			best, victims = w.cheapest(p, on)
		}
		if best < 0 {
			continue
		}
		for _, v := range victims {
			w.take(v)
			on[best] = slices.DeleteFunc(on[best], func(x int) bool { return x == v })
			queue = append(queue, v)
		}
		evicted += len(victims)
		w.put(queue[n], best)
		on[best] = append(on[best], queue[n])
	}
	return evicted, w.lostByClass(func(i int) bool { return w.pods[i].at < 0 })
}

// cheapest finds the host where the least has to go for a pod; −1: none.
func (w *plant) cheapest(p *plantPod, on [][]int) (host int, victims []int) {
	host = -1
	highest := func(vs []int) int { return w.pods[vs[len(vs)-1]].priority() }
	for i := range w.hosts {
		var lower []int
		for _, v := range on[i] {
			if w.pods[v].priority() < p.priority() {
				lower = append(lower, v)
			}
		}
		slices.SortStableFunc(lower, func(a, b int) int { return cmp.Compare(w.pods[a].priority(), w.pods[b].priority()) })
		for n, v := range lower {
			w.take(v)
			if !w.allowed(p, i) {
				continue
			}
			vs := lower[:n+1]
			if host < 0 || cmp.Or(cmp.Compare(highest(vs), highest(victims)), cmp.Compare(len(vs), len(victims))) < 0 {
				host, victims = i, slices.Clone(vs)
			}
			break
		}
		for _, v := range lower {
			if w.pods[v].at < 0 {
				w.put(v, i)
			}
		}
	}
	return host, victims
}

// lostByClass is the part of the demand of each class that stays out.
func (w *plant) lostByClass(out func(pod int) bool) (lost [classes]float64) {
	var all [classes]float64
	for i := range w.pods {
		p := &w.pods[i]
		d := float64(p.cpu) + float64(p.memory)/4.096
		all[p.priority()] += d
		if out(i) {
			lost[p.priority()] += d
		}
	}
	for c := range lost {
		lost[c] /= max(all[c], 1)
	}
	return lost
}

// oursByClass is what Place leaves out of each class.
func (w *plant) oursByClass() [classes]float64 {
	v := w.view()
	for i := range v.Pods {
		v.Pods[i].Priority = int32(w.pods[i].priority())
	}
	pending := map[string]bool{}
	for _, p := range Place(v, Options{Preempt: true}).Pending {
		pending[p.Pod] = true
	}
	return w.lostByClass(func(i int) bool { return pending[v.Pods[i].UID] })
}

// Where a fifth more is asked for than there is, the more important workloads lose less than with a central scheduler that preempts,
// and nobody is driven off, because who matters is placed first.
func TestPlantedPriorities(t *testing.T) {
	for seed := range uint64(4) {
		w := newPlant(seed, 300, .95)
		for i := range w.hosts {
			h := &w.hosts[i]
			h.cpu, h.memory = h.cpu*4/5, h.memory*4/5
		}
		ours := w.oursByClass()
		evicted, central := w.centralWithPreemption(kubernetes)
		t.Logf("seed %d, %d pods: demand lost by class, least first: %s; central with preemption %s, %d driven off", seed, len(w.pods), percent(ours), percent(central), evicted)
		for c := classes - 1; c >= 0; c-- { // the first class that fares otherwise decides
			if math.Abs(ours[c]-central[c]) > .001 {
				if ours[c] > central[c] {
					t.Errorf("seed %d: class %d loses more than with a central scheduler", seed, c)
				}
				break
			}
		}
		if evicted == 0 {
			t.Errorf("seed %d: the central scheduler preempted nobody: it was no comparison", seed)
		}
	}
}

func percent(lost [classes]float64) (s string) {
	for _, x := range lost {
		s += fmt.Sprintf(" %.2f%%", 100*x)
	}
	return s
}

// BenchmarkPriorities is the same on 1,000 hosts and 20 seeds.
func BenchmarkPriorities(b *testing.B) {
	var ours, central [classes]float64
	evicted, pods := 0, 0
	for b.Loop() {
		for seed := range uint64(20) {
			w := newPlant(100+seed, 1000, .95)
			for i := range w.hosts {
				h := &w.hosts[i]
				h.cpu, h.memory = h.cpu*4/5, h.memory*4/5
			}
			o := w.oursByClass()
			n, c := w.centralWithPreemption(kubernetes)
			evicted, pods = evicted+n, pods+len(w.pods)
			for k := range classes {
				ours[k], central[k] = ours[k]+o[k], central[k]+c[k]
			}
		}
	}
	n := float64(20 * b.N)
	for k := range classes {
		b.ReportMetric(100*ours[k]/n, fmt.Sprintf("%%lost-%d", k))
		b.ReportMetric(100*central[k]/n, fmt.Sprintf("%%central-%d", k))
	}
	b.ReportMetric(100*float64(evicted)/float64(pods), "%driven-off")
}
