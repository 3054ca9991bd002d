package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// churn is a planted cluster that loses hosts and gets them back.
type churn struct {
	s            *State
	r            *rand.Rand
	hosts        []Host
	pods         map[string]Pod
	down         []int
	lost, moved  int // pods that lost their host; pods that got another one
	extra, waits int // running pods moved for others; pods pending, summed over events
}

func newChurn(seed uint64, hosts int, fill float64, o Options) *churn {
	v := newPlant(seed, hosts, fill).view()
	c := &churn{s: NewState(o), r: rand.New(rand.NewPCG(seed, 9)), hosts: v.Hosts, pods: map[string]Pod{}}
	for _, p := range v.Pods {
		c.pods[p.UID] = p
	}
	c.s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods})
	return c
}

// event takes one host away and, when ten are down, gives the first one back. The pods of the lost one have to move; the
// least number of moves is their number.
func (c *churn) event() Plan {
	i := c.r.IntN(len(c.hosts))
	for slices.Contains(c.down, i) {
		i = c.r.IntN(len(c.hosts))
	}
	c.down = append(c.down, i)
	h := c.hosts[i]
	d := Delta{Hosts: []Host{h}}
	d.Hosts[0].NotReady = "lost"
	for _, uid := range c.s.on(h.ID) {
		d.Pods = append(d.Pods, c.pods[uid])
	}
	c.lost += len(d.Pods)
	if len(c.down) > max(1, len(c.hosts)/100) {
		d.Hosts = append(d.Hosts, c.hosts[c.down[0]])
		c.down = c.down[1:]
	}
	p := c.s.Apply(d)
	c.moved += len(p.Binds)
	c.extra += len(p.Moves)
	c.waits += len(p.Pending)
	return p
}

// ratio is moved pods over the minimum.
func (c *churn) ratio() float64 { return float64(c.moved+c.extra) / float64(c.lost) }

// The loss of a host moves its pods and no other, unless running pods may move for those that fit nowhere; then few do.
// Hosts of rare kinds are few among 200, so some pods wait now and then (1,000: go test -bench Churn).
func TestChurnMovesLittle(t *testing.T) {
	for _, x := range []struct {
		fill, most float64
		moves      int
	}{{.8, 1, 0}, {.9, 1, 0}, {.95, 1.03, 1}} {
		c := newChurn(1, 200, x.fill, Options{Moves: x.moves})
		for range 60 {
			p := c.event()
			if len(p.Moves) > x.moves {
				t.Fatalf("%d moves in one Plan: %+v", len(p.Moves), p.Moves)
			}
			for _, m := range p.Moves {
				if m.For == "" {
					t.Fatalf("moved without a reason: %+v", m)
				}
			}
		}
		t.Logf("fill %.2f: %d lost, %d placed again, %d moved for others, %.1f pending on average: %.4f", x.fill, c.lost, c.moved, c.extra, float64(c.waits)/60, c.ratio())
		if c.ratio() > x.most || c.waits > 4*60 {
			t.Errorf("fill %.2f: moved %.4f of the minimum, at most %.3f", x.fill, c.ratio(), x.most)
		}
	}
}

func BenchmarkChurn(b *testing.B) {
	for _, x := range []struct {
		fill  float64
		moves int
	}{{.8, 0}, {.9, 0}, {.95, 0}, {.8, 1}, {.9, 1}, {.95, 1}, {.95, 8}} {
		b.Run(fmt.Sprintf("fill=%.2f/moves=%d", x.fill, x.moves), func(b *testing.B) {
			var ratio, waits, cost float64
			for b.Loop() {
				c := newChurn(1, 1000, x.fill, Options{Moves: x.moves})
				from := cpu()
				for range 500 {
					c.event()
				}
				cost += float64((cpu() - from).Microseconds()) / 500
				ratio, waits = ratio+c.ratio(), waits+float64(c.waits)/500
			}
			b.ReportMetric(ratio/float64(b.N), "moved/min")
			b.ReportMetric(waits/float64(b.N), "pending/event")
			b.ReportMetric(cost/float64(b.N), "cpu-µs/event")
		})
	}
}

// Pods move to a newcomer only, no more in a Plan than the budget, never more than a disruption budget allows, and in the
// end it is as full as the others at most. Without rebalancing nothing moves.
func TestNewcomersDrawPods(t *testing.T) {
	for _, o := range []Options{{}, {Rebalance: Gentle}, {Rebalance: Eager}} {
		v := View{Hosts: hostsOf(20, 16000, 64), Pods: podsOf(600, "web", func(p *Pod) { p.Requests = Resources{CPU: 250, Memory: 1 << 30} })}
		s := NewState(o)
		s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: []Budget{{ID: "b", Namespace: "default", Match: app("web"), Allowed: 3}}})
		h := hostsOf(21, 16000, 64)[20]
		h.Joined = true
		moved, plans := 0, 0
		for p := s.Apply(Delta{Hosts: []Host{h}}); len(p.Moves) > 0 && plans < 1000; p = s.Apply(Delta{}) {
			plans++
			moved += len(p.Moves)
			if most := map[Rebalance]int{Gentle: 1, Eager: 3}[o.Rebalance]; len(p.Moves) > most {
				t.Fatalf("%d moves in one Plan, at most %d", len(p.Moves), most)
			}
			for _, m := range p.Moves {
				if m.To != h.ID || m.For != "" {
					t.Fatalf("moved elsewhere: %+v", m)
				}
			}
		}
		has := len(s.on(h.ID))
		t.Logf("rebalance %d: %d moves in %d Plans", o.Rebalance, moved, plans)
		if has != moved || o.Rebalance == Off && moved > 0 || o.Rebalance != Off && (moved < 14 || moved > 29) {
			t.Errorf("rebalance %d: %d pods moved to the newcomer, it has %d; its share is 28", o.Rebalance, moved, has)
		}
	}
}

// Where every host is a candidate of every pod, load alone has chosen their hosts: the newcomer then draws its exact share,
// however near it is to whom.
func TestNewcomerAmongFewDrawsItsExactShare(t *testing.T) {
	for hosts := 2; hosts < 8; hosts++ {
		for seed := range 20 {
			v := View{Hosts: hostsOf(hosts, 16000, 64), Pods: podsOf(hosts*(hosts+1), fmt.Sprint("web-", seed), func(p *Pod) { p.Requests = Resources{CPU: 250, Memory: 1 << 30} })}
			s := NewState(Options{Rebalance: Gentle})
			s.Apply(Delta{Hosts: v.Hosts, Pods: v.Pods})
			h := hostsOf(hosts+1, 16000, 64)[hosts]
			h.Joined = true
			moved := 0
			for p := s.Apply(Delta{Hosts: []Host{h}}); len(p.Moves) > 0 && moved <= hosts; p = s.Apply(Delta{}) {
				moved += len(p.Moves)
			}
			if has := len(s.on(h.ID)); has != hosts || moved != hosts {
				t.Errorf("%d hosts with %d pods each, seed %d: the newcomer has %d after %d moves", hosts, hosts+1, seed, has, moved)
			}
		}
	}
}
