package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A mesh of nodes that gossip claims, lose messages, fall apart and come together again. It holds what placement promises
// to the protocol around it: the home decides on what it sees, hosts admit by what they really have, and of several claims
// the greatest by (generation, host) wins everywhere; who has lost stops only when the winner runs.
type mesh struct {
	r     *rand.Rand
	nodes []*meshNode
	pods  []Pod
	side  []int // partition of each node
	loss  int   // per cent of messages
}

type meshNode struct {
	id      string
	index   int
	seen    map[string]int   // round in which each node was last heard of
	claims  map[string]claim // by pod
	running map[string]bool
	kept    map[string]int // reservations: until which round room is kept for a pod
	s       *State
	up      map[string]bool // hosts as the State knows them
}

type claim struct {
	generation int
	host       string
	ready      bool
}

func (c claim) beats(d claim) bool {
	if c.generation != d.generation {
		return c.generation > d.generation
	}
	if c.host != d.host {
		return name(c.host) > name(d.host)
	}
	return c.ready && !d.ready
}

const meshPatience = 6 // rounds of silence until a node is believed lost

func newMesh(seed uint64, nodes, pods int) *mesh {
	m := &mesh{r: rand.New(rand.NewPCG(seed, 3)), side: make([]int, nodes), loss: 10}
	hosts := hostsOf(nodes, 8000, 32)
	for i, h := range hosts {
		n := &meshNode{id: h.ID, index: i, seen: map[string]int{}, claims: map[string]claim{}, running: map[string]bool{}, kept: map[string]int{}, s: NewState(Options{}), up: map[string]bool{}}
		n.s.Apply(Delta{Hosts: hosts})
		for _, x := range hosts {
			n.up[x.ID] = true
		}
		m.nodes = append(m.nodes, n)
	}
	for i := range pods {
		m.pods = append(m.pods, Pod{UID: fmt.Sprint("pod-", i), Owner: fmt.Sprint("o", i/5), Requests: Resources{CPU: 250, Memory: 1 << 30, Pods: 1}})
	}
	return m
}

// round lets every node speak to three others, then look around and decide.
func (m *mesh) round(now int) {
	for _, n := range m.nodes {
		n.seen[n.id] = now
		for range 3 {
			if to := m.r.IntN(len(m.nodes)); m.side[to] == m.side[n.index] && m.r.IntN(100) >= m.loss {
				m.nodes[to].hear(n)
			}
		}
	}
	for _, n := range m.nodes {
		m.decide(n, now)
	}
}

func (n *meshNode) hear(from *meshNode) {
	for id, at := range from.seen {
		n.seen[id] = max(n.seen[id], at)
	}
	for pod, c := range from.claims {
		if mine, known := n.claims[pod]; !known || c.beats(mine) {
			n.claims[pod] = c
		}
	}
}

func (n *meshNode) sees(id string, now int) bool { return now-n.seen[id] <= meshPatience }

// decide starts and stops what n itself hosts, and as the home places what has no host in sight.
func (m *mesh) decide(n *meshNode, now int) {
	for pod := range n.running {
		if c := n.claims[pod]; c.host != n.id && c.ready {
			delete(n.running, pod)
		}
	}
	d := Delta{}
	for i, h := range hostsOf(len(m.nodes), 8000, 32) {
		if up := n.sees(m.nodes[i].id, now); up != n.up[h.ID] {
			n.up[h.ID] = up
			if !up {
				h.NotReady = "out of sight"
			}
			d.Hosts = append(d.Hosts, h)
		}
	}
	for _, p := range m.pods {
		c, known := n.claims[p.UID]
		p.Host = c.host
		if known && c.host == n.id && !n.running[p.UID] {
			c = n.start(p.UID, c, now)
			p.Host = c.host
		}
		if !known || !n.up[c.host] {
			if p.Host = ""; m.home(n, p.UID) != n {
				continue
			}
		}
		d.Pods = append(d.Pods, p)
	}
	for _, b := range n.s.Apply(d).Binds {
		for _, h := range append([]string{b.Host}, b.Others...) {
			if m.admit(n, h, b.Pod, now) {
				n.claims[b.Pod] = claim{generation: n.claims[b.Pod].generation + 1, host: h}
				break
			}
		}
	}
}

// home is the first by rendezvous of the nodes that n sees.
func (m *mesh) home(n *meshNode, pod string) (home *meshNode) {
	var best uint64
	lot := lotOf(name(pod))
	for _, x := range m.nodes {
		if h := lot.meet(name(x.id)); n.up[x.id] && h >= best {
			best, home = h, x
		}
	}
	return home
}

// admit asks the host, if it can be reached, whether it has room for one more.
func (m *mesh) admit(n *meshNode, host, pod string, now int) bool {
	for _, x := range m.nodes {
		if x.id == host && m.side[x.index] == m.side[n.index] && x.room(now) > 0 {
			x.kept[pod] = now + 12
			return true
		}
	}
	return false
}

const meshRoom = 32

// room is how many pods the host could still take.
func (n *meshNode) room(now int) int {
	room := meshRoom - len(n.running)
	for pod, until := range n.kept {
		if until >= now && !n.running[pod] {
			room--
		}
	}
	return room
}

// start runs a pod that is claimed for this host, or hands it back when the room that was kept for it is gone.
func (n *meshNode) start(pod string, c claim, now int) claim {
	if n.kept[pod] < now && n.room(now) <= 0 {
		c = claim{generation: c.generation + 1}
	} else {
		n.running[pod] = true
		c.ready = true
	}
	delete(n.kept, pod)
	n.claims[pod] = c
	return c
}

// copies counts where each pod runs.
func (m *mesh) copies() (ready int, most int) {
	on := map[string]int{}
	for _, n := range m.nodes {
		for pod := range n.running {
			on[pod]++
			most = max(most, on[pod])
		}
	}
	return len(on), most
}

// After loss, a split and its healing every pod runs on exactly one host, all nodes agree which, and at no time did fewer
// pods run than before and wanted; no host ever ran more than it has room for.
func TestMeshHealsToOneHostPerPod(t *testing.T) {
	for seed := range uint64(3) {
		m := newMesh(seed, 12, 120)
		now, high := 0, 0
		run := func(rounds int) {
			for range rounds {
				now++
				m.round(now)
				ready, _ := m.copies()
				if ready < high {
					t.Fatalf("seed %d, round %d: %d pods run, before it were %d", seed, now, ready, high)
				}
				high = ready
				for _, n := range m.nodes {
					if len(n.running) > meshRoom {
						t.Fatalf("seed %d: %s runs %d pods, it has less room", seed, n.id, len(n.running))
					}
				}
			}
		}
		run(40)
		for i := range m.side {
			m.side[i] = i % 3 / 2
		}
		run(60)
		_, double := m.copies()
		for i := range m.side {
			m.side[i] = 0
		}
		run(60)
		ready, most := m.copies()
		if ready != len(m.pods) || most != 1 || double < 2 {
			t.Errorf("seed %d: %d of %d pods run, up to %d times; %d times during the split", seed, ready, len(m.pods), most, double)
		}
		for _, n := range m.nodes[1:] {
			for _, p := range m.pods {
				if n.claims[p.UID].host != m.nodes[0].claims[p.UID].host {
					t.Fatalf("seed %d: nodes disagree about %s", seed, p.UID)
				}
			}
		}
	}
}
