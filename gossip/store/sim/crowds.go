package sim

import (
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Scenes of many writers at once, and of homes that do not answer.

// crowd: everybody is at the same few objects at once, and answers get lost.
func (w *world) crowd() {
	w.plan.keys, w.plan.write, w.plan.loss = 1+w.rnd.IntN(3), w.between(15*time.Millisecond, 80*time.Millisecond), w.rnd.Float64()/2
	w.rage(w.client, w.jostle)
}

func (w *world) jostle() {
	n, m := w.any(), w.any()
	switch w.rnd.IntN(9) {
	case 0:
		w.note("storm")
		k := w.key()
		for range 2 * w.plan.limits.Waiting {
			w.at(n, k)
		}
	case 1:
		w.links.shut[n.i][m.i] = n != m
	case 2:
		w.links.shut[n.i][m.i], w.links.shut[m.i][n.i] = n != m, n != m
	case 3:
		n.disk.slow = !n.disk.slow
	case 4:
		w.crash(n)
	case 5:
		w.note("credit")
		w.authors.credit(n)
	case 6:
		w.note("mute")
		for _, o := range w.nodes { // whoever asks it still thinks that it answers
			w.links.shut[n.i][o.i] = n != o
		}
	default:
		w.links.clear()
	}
}

// silentHomes: a home is asked and cut off before it can answer, somebody else writes meanwhile, and then who asked writes again.
func (w *world) silentHomes() {
	k := store.Key{Kind: things, Namespace: "ns", Name: "t0"}
	for range 12 {
		n := w.any()
		w.at(n, k)
		w.hush(n, k)
		w.until(w.now+w.between(0, time.Second), nil)
		w.at(w.any(), k)
		w.until(w.now+w.between(2*time.Second, 4*time.Second), nil)
		w.at(n, k)
		w.until(w.now+w.between(0, time.Second), nil)
		w.links.clear()
		w.until(w.now+4*time.Second, nil)
	}
}

// hush cuts off whom a node has just asked.
func (w *world) hush(n *node, k store.Key) {
	if home := w.byName[n.home(k)]; n.up && home != nil && home != n {
		w.alone(home)
	}
}
