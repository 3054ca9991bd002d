package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Scenes of clocks that are ahead.

const year = 365 * 24 * time.Hour

// nextYear: clocks go a year ahead where nobody sees it, and come back. One node's does not: it crashes, and loses its disk or is
// replaced. (Where one forgets what it wrote in another year, or is evicted with it, promises are weaker: DESIGN.md.)
func (w *world) nextYear() {
	w.plan.keys += w.rnd.IntN(3)
	w.plan.loss *= 3
	w.rage(w.client, w.idle)
	w.quiet()
	if w.chance(2) {
		w.pass(150*time.Minute, 4*time.Minute)
	}
	w.plan.chaos = 10 * time.Second
	victim, fate := w.any(), w.wipe
	if w.chance(2) {
		fate = w.replace
	}
	k := w.key()
	w.rage(func() {
		if w.client(); w.chance(2) {
			w.at(w.any(), k)
		}
	}, func() { w.leap(k, victim, fate) })
	w.quiet()
	if w.chance(2) { // what is over now is forgotten
		w.plan.chaos = 5 * time.Second
		w.rage(w.client, w.idle)
		w.quiet()
		w.pass(150*time.Minute, 4*time.Minute)
	}
}

func (w *world) leap(k store.Key, victim *node, fate func(*node)) {
	n, m := w.other(victim), w.other(victim)
	switch p := w.rnd.IntN(10); {
	case p < 4:
		w.note("clock a year ahead")
		w.plan.jumped, w.plan.leapt = true, true
		n.set(year)
		ahead := []*node{n}
		switch w.rnd.IntN(3) {
		case 0:
			w.alone(n, m)
			m.set(year)
			ahead = append(ahead, m)
		case 1:
			w.alone(n, victim)
			if w.others(victim) {
				fate(victim)
			}
		default:
			w.alone(n, m)
		}
		for range 4 {
			w.after(w.between(0, 2*time.Second), func() { w.at(ahead[w.rnd.IntN(len(ahead))], k) })
		}
	case p < 7:
		if i := slices.IndexFunc(w.nodes, func(o *node) bool { return o.up && o.ahead() > 24*time.Hour }); i >= 0 {
			n = w.nodes[i]
		}
		w.at(n, k)
		w.hush(n, k)
		n.set(0)
		for range 2 {
			w.after(w.between(0, 4*time.Second), func() { w.at(n, k) })
		}
	case p < 9:
		w.links.clear()
	default:
		w.crash(victim)
	}
}

// oldDoubts: two nodes are a year ahead, one asks the other for a write, hears nothing, and makes it anew once its clock is right. What was
// asked for must not be waited for when all of it is forgotten.
func (w *world) oldDoubts() {
	w.plan.keys, w.plan.chaos, w.plan.loss = 3, 2*time.Second, 0
	w.rage(w.client, w.idle)
	w.quiet()
	n := w.any()
	home := w.other(n)
	w.plan.jumped, w.plan.leapt = true, true
	n.set(year)
	home.set(year)
	w.alone(n, home)
	w.until(w.now+4*time.Second, nil) // until nobody else is asked
	for i := range w.plan.keys {
		w.at(n, podKey(i))
	}
	w.alone(n)
	w.until(w.now+time.Second/2, nil)
	n.set(0)
	w.until(w.now+3*time.Second, nil)
	home.set(0)
	w.links.clear()
	for range 2 {
		w.quiet()
		for i := range w.plan.keys {
			w.end(w.any(), podKey(i))
		}
		w.pass(150*time.Minute, 4*time.Minute)
		w.rage(w.client, w.idle)
	}
}

func podKey(i int) store.Key { return store.Key{Kind: pods, Namespace: "ns", Name: fmt.Sprint("p", i)} }

// end lets a person delete what a node shows.
func (w *world) end(n *node, k store.Key) {
	if cur := n.object(k); cur != nil {
		w.write(n, store.Write{Key: k, Base: cur, Op: store.Delete, Human: true}, len(w.oracle.ops))
	}
}

// youngGraves: somebody who missed a delete comes back and writes, while a clock says that the delete was long ago.
func (w *world) youngGraves() {
	w.plan.repair = time.Second
	w.rage(w.client, w.idle)
	w.quiet()
	away := w.any()
	w.alone(away)
	w.rage(func() { w.at(w.other(away), w.key()) }, w.idle)
	w.pass(w.between(15*time.Minute, 45*time.Minute), 4*time.Minute)
	w.links.clear()
	w.plan.chaos, w.plan.loss = 3*time.Second, w.rnd.Float64()
	w.plan.jumped, w.plan.leapt = true, true
	w.rage(func() { w.at(away, w.key()) }, func() { w.other(away).set(year) })
}

// earlyEvents: a node's clock is ahead, and an event that others do not know is all that it writes then.
func (w *world) earlyEvents() {
	n := w.any()
	event := store.Key{Kind: events, Namespace: "ns", Name: "early"}
	w.at(n, event)
	w.rage(w.client, w.idle)
	for range 3 {
		w.at(n, event)
		w.pass(w.between(20*time.Minute, 26*time.Minute), 4*time.Minute)
	}
	for _, o := range w.nodes { // who restarts has no events
		if o != n && w.chance(2) {
			w.crash(o)
		}
	}
	w.until(w.now+20*time.Second, nil)
	n.set(time.Hour)
	w.at(n, event)
	w.until(w.now+time.Second, nil)
	n.set(0)
	w.pass(w.between(20*time.Minute, 50*time.Minute), 4*time.Minute)
}
