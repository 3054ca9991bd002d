package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Ten per cent of a thousand nodes have not seen the five newest. Each node decides on the pods of which it believes to be
// the home, by rendezvous over the members that it sees, with placement over the hosts that it sees; hosts admit by their
// true capacity. A pod is started twice when two nodes believe to be its home and choose different hosts.
func TestDivergentViewsStartFewTwice(t *testing.T) {
	const nodes, newest, pods = 1000, 5, 20000
	r := rand.New(rand.NewPCG(4, 4))
	hosts := hostsOf(nodes, 16000, 64)
	stale := make([]bool, nodes)
	for i := range nodes - newest {
		stale[i] = r.IntN(10) == 0
	}
	fresh, old := NewState(Options{}), NewState(Options{})
	fresh.Apply(Delta{Hosts: hosts})
	old.Apply(Delta{Hosts: hosts[:nodes-newest]})
	keys := make([]uint64, nodes)
	for i := range hosts {
		keys[i] = name(hosts[i].ID)
	}
	used := make([]amounts, nodes)
	admit := func(id string, p *Pod) bool {
		var i int
		fmt.Sscanf(id, "h%d", &i)
		if used[i].cpu+p.Requests.CPU > hosts[i].Allocatable.CPU || used[i].memory+p.Requests.Memory > hosts[i].Allocatable.Memory {
			return false
		}
		used[i].cpu, used[i].memory = used[i].cpu+p.Requests.CPU, used[i].memory+p.Requests.Memory
		return true
	}
	twice, none, declined := 0, 0, 0
	for i := range pods {
		p := Pod{UID: fmt.Sprint("pod-", i), Owner: fmt.Sprint("o", i/20), Requests: Resources{CPU: 250, Memory: 1 << 30, Pods: 1}}
		first, second := homes(name(p.UID), keys, nodes-newest)
		var on []string
		decide := func(s *State) {
			for _, b := range s.Apply(Delta{Pods: []Pod{p}}).Binds {
				for _, h := range append([]string{b.Host}, b.Others...) {
					if len(on) == 1 && on[0] == h {
						return // it runs there already
					}
					if admit(h, &p) {
						on = append(on, h)
						return
					}
					declined++
				}
			}
		}
		if first == second || first >= nodes-newest {
			decide(fresh) // the true home decides; the newest have seen themselves
		} else if !stale[first] {
			decide(fresh)
		}
		if first != second && stale[second] {
			decide(old) // it has not seen the newcomer that is the true home
		} else {
			old.Apply(Delta{Pods: []Pod{claimed(p, on)}})
		}
		if len(on) > 1 {
			twice++
		}
		if len(on) == 0 {
			none++
		}
		if len(on) > 0 {
			fresh.Apply(Delta{Pods: []Pod{claimed(p, on)}})
		}
	}
	t.Logf("%d pods: %d started twice (%.3f %%), %d nowhere, %d declined", pods, twice, 100*float64(twice)/pods, none, declined)
	if twice*1000 > pods || none > 0 {
		t.Errorf("%d of %d pods were started twice, %d nowhere", twice, pods, none)
	}
	for i := range used {
		if used[i].cpu > hosts[i].Allocatable.CPU || used[i].memory > hosts[i].Allocatable.Memory {
			t.Errorf("host %d is overcommitted", i)
		}
	}
}

func claimed(p Pod, on []string) Pod {
	if len(on) > 0 {
		p.Host = on[0]
	}
	return p
}

// homes returns the first node by rendezvous among all, and among those that everybody has seen.
func homes(pod uint64, keys []uint64, seen int) (all, known int) {
	var best uint64
	lot := lotOf(pod)
	for i, k := range keys {
		if x := lot.meet(k); x > best {
			best, all = x, i
			if i < seen {
				known = i
			}
		}
	}
	return all, known
}
