package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Spread is how far and fast writes went in a large mesh.
type Spread struct {
	Nodes, Writes int
	Median, Last  time.Duration // the worst write's way to half of all nodes, and to the last one
	Repaired      int           // deliveries that gossip lost and a reconciliation brought
	Write         int           // bytes that a node sent per write of 2 KB, on average
	Idle          int           // bytes a second that a node sent while nobody wrote
}

const (
	degree    = 16 // neighbours of a node in gossip, as package gossip asks of gossipsub
	warmUp    = 45 * time.Second
	idleSpan  = 60 * time.Second
	peerIDLen = 52
)

// Measure writes objects of 2 KB in a mesh of n nodes whose messages get lost with the given chance, and follows each to the
// last node. Replicas and reconciliations are the store's own; of gossipsub there is what spreads: every node passes what it
// sees for the first time to its 16 neighbours (neither flood publishing nor IHAVE, which make it only faster). Latencies are
// 8 to 80 ms, one message in twenty takes up to ten times as long.
func Measure(seed uint64, n, writes int, loss float64) (Spread, error) {
	w := &world{
		seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), start: time.UnixMilli(1_800_000_000_000), byName: map[string]*node{},
		oracle: newOracle(), chaos: true, links: newLinks(n),
	}
	w.plan = plan{
		latency: 80 * time.Millisecond, loss: loss, tick: time.Second, repair: 10 * time.Second,
		limits: store.Limits{Early: 1 << 20, Held: 1 << 20, Waiting: 1 << 20}, happened: map[string]int{},
	}
	for i := range n {
		o := &node{w: w, name: fmt.Sprintf("12D3KooW%0*d", peerIDLen-8, i), i: i, member: true, ever: map[[32]byte]bool{}}
		w.nodes = append(w.nodes, o)
		w.byName[o.name] = o
	}
	w.neighbours()
	return w.measure(writes)
}

// neighbours makes a random graph in which everybody has at least degree neighbours.
func (w *world) neighbours() {
	for _, n := range w.nodes {
		n.mesh = []*node{}
	}
	for _, n := range w.nodes {
		for tries := 0; len(n.mesh) < degree && tries < 1000; tries++ {
			if o := w.any(); o != n && !slices.Contains(n.mesh, o) {
				n.mesh, o.mesh = append(n.mesh, o), append(o.mesh, n)
			}
		}
	}
}

func (w *world) measure(writes int) (s Spread, err error) {
	defer func() {
		if p := recover(); p != nil {
			if w.fault == nil {
				panic(p)
			}
			err = w.fault
		}
	}()
	for _, n := range w.nodes {
		n.boot()
	}
	w.until(warmUp, nil)
	at, seen := map[string]time.Duration{}, map[string][]time.Duration{}
	w.onShow = func(_ *node, o *store.Object) {
		if began, ok := at[o.Name]; ok {
			seen[o.Name] = append(seen[o.Name], w.now-began)
		}
	}
	idle := w.sent()
	w.until(w.now+idleSpan, nil)
	s.Idle = (w.sent() - idle) / len(w.nodes) / int(idleSpan/time.Second)
	busy, began := w.sent(), w.now
	for i := range writes {
		name := fmt.Sprint("w", i)
		at[name] = w.now
		body := fmt.Appendf(nil, "w%d s%d %s", len(w.oracle.ops), i, strings.Repeat("x", 2000))
		w.write(w.any(), store.Write{Key: store.Key{Kind: things, Namespace: "ns", Name: name}, Body: body, Generated: true}, i)
		w.until(w.now+250*time.Millisecond, nil)
	}
	all := func() bool {
		for name := range at {
			if len(seen[name]) < len(w.nodes) {
				return false
			}
		}
		return true
	}
	if !w.until(w.now+2*time.Minute, all) {
		return s, fmt.Errorf("after two minutes some nodes lack some writes")
	}
	s.Nodes, s.Writes = len(w.nodes), writes
	s.Write = max(w.sent()-busy-s.Idle*len(w.nodes)*int((w.now-began)/time.Second), 0) / len(w.nodes) / max(writes, 1)
	for _, times := range seen {
		slices.Sort(times)
		s.Median, s.Last = max(s.Median, times[len(times)/2]), max(s.Last, times[len(times)-1])
		for _, t := range times {
			if t > 5*time.Second {
				s.Repaired++
			}
		}
	}
	return s, nil
}

func (w *world) sent() (n int) {
	for _, o := range w.nodes {
		n += o.out
	}
	return n
}
