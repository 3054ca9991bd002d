package sim

import (
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// links say who hears whom: shut is directed, and a line may be of bad quality.
type links struct {
	shut [][]bool
}

func newLinks(n int) links {
	l := links{shut: make([][]bool, n)}
	for i := range l.shut {
		l.shut[i] = make([]bool, n)
	}
	return l
}

func (l links) open(from, to int) bool { return !l.shut[from][to] }

func (l links) clear() {
	for i := range l.shut {
		clear(l.shut[i])
	}
}

// delay of one message, and whether it is lost.
func (w *world) delay() time.Duration {
	if w.chance(20) {
		return w.between(w.plan.latency, 10*w.plan.latency)
	}
	return w.between(w.plan.latency/10, w.plan.latency)
}

func (w *world) lost(from, to int) bool {
	return !w.links.open(from, to) || w.chaos && w.rnd.Float64() < w.plan.loss
}

// publish gives a frame to everybody who can be heard, each copy with a fate of its own.
func (n *node) publish(frame []byte) {
	w := n.w
	w.oracle.published(w, n, frame)
	h := sha256.Sum256(frame)
	n.seen[h] = true
	for _, to := range n.peers() {
		w.gossip(n.name, n.i, to, frame, h)
	}
}

// peers are whom a node gossips with: everybody in a small mesh, as its few neighbours in a large one.
func (n *node) peers() []*node {
	if n.mesh != nil {
		return n.mesh
	}
	return slices.DeleteFunc(slices.Clone(n.w.nodes), func(o *node) bool { return o == n })
}

func (w *world) gossip(from string, i int, to *node, frame []byte, h [32]byte) {
	if sender := w.byName[from]; sender != nil {
		sender.out += len(frame) + overhead
	}
	copies := 1
	if w.chaos && w.rnd.Float64() < w.plan.repeat {
		copies = 2
	}
	for range copies {
		if w.lost(i, to.i) {
			continue
		}
		w.after(w.delay(), func() {
			if to.up && w.links.open(i, to.i) {
				to.hear(from, frame, h)
			}
		})
	}
}

// hear merges a message, and relays what is no poison to two others.
func (n *node) hear(from string, frame []byte, h [32]byte) {
	w := n.w
	in, ok, behind, err := n.r.Arrived(from, frame)
	if err != nil {
		w.tell("%s refuses a frame of %s: %v", n.name, from, err)
		w.oracle.refused(w, n, from, h)
		return
	}
	w.oracle.relayed(w, n, from, h)
	if behind {
		if p := w.byName[from]; p != nil {
			w.reconcile(n, p)
		}
	}
	if ok {
		n.step(in)
	}
	if n.up && !n.seen[h] {
		n.seen[h] = true
		for _, to := range n.mesh {
			if to.name != from {
				w.gossip(n.name, n.i, to, frame, h)
			}
		}
		for range 2 {
			if n.mesh != nil {
				break
			}
			if to := w.any(); to != n && to.name != from {
				w.gossip(n.name, n.i, to, frame, h)
			}
		}
	}
}

// overhead of one message in bytes: gossipsub's envelope, and a packet's headers.
const overhead = 100

var errReach = errors.New("out of reach")

// propose carries a question to a home and its answer back; 2 s later its author goes on alone.
func (n *node) propose(q *store.Question) {
	w, life, from := n.w, n.lives, n.name
	answered := false
	answer := func(reply []byte, err error) {
		if answered || n.lives != life || !n.up {
			return
		}
		answered = true
		if x := n.asking[q.Write]; x != nil && err == nil {
			x.why, x.heard = store.Unframe(reply[1:]), n.time()
		}
		n.step(n.r.Answered(q.Write, reply, err))
	}
	w.after(2*time.Second, func() { answer(nil, errReach) })
	home := w.byName[q.Home]
	if home == nil || !home.up || !w.links.open(n.i, home.i) {
		w.after(w.between(time.Millisecond, 300*time.Millisecond), func() { answer(nil, errReach) })
		return
	}
	if w.lost(n.i, home.i) {
		return
	}
	w.after(w.delay(), func() {
		if !home.up {
			return
		}
		id := w.id()
		in, err := home.r.Proposal(id, from, q.Frame)
		back := func(reply []byte, err error) {
			if !w.lost(home.i, n.i) {
				w.after(w.delay(), func() { answer(reply, err) })
			}
		}
		if err != nil {
			w.tell("%s does not judge for %s: %v", home.name, n.name, err)
			w.oracle.unjudged(w, home, n, err)
			back(nil, err)
			return
		}
		home.ask(id, in, func(r *store.Reply) {
			if r.Err != nil {
				back(nil, r.Err)
				return
			}
			v := r.Verdict()
			if v[0] == 0 {
				w.oracle.accepted(home, q.Frame)
			}
			back(v, nil)
		})
	})
}
