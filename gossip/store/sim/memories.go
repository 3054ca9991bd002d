package sim

import (
	"slices"
	"time"
)

// Scenes of disks that are lost, and of old ones.

// lostDisks: one node loses its disk, or gets an old one, again and again, and sometimes another one with it.
func (w *world) lostDisks() {
	w.rage(w.client, w.idle)
	w.quiet()
	if w.chance(3) { // of the dead nothing is left but a horizon
		w.pass(150*time.Minute, 4*time.Minute)
		w.quiet()
	}
	victim := w.any()
	w.plan.chaos *= 2
	w.rage(func() {
		n := victim
		if w.chance(2) {
			n = w.any()
		}
		w.at(n, w.key())
	}, func() { w.lose(victim) })
}

func (w *world) lose(n *node) {
	m := w.other(n)
	switch w.rnd.IntN(13) {
	case 0:
		w.wipe(n)
	case 1:
		w.alone(n)
		w.wipe(n)
	case 2:
		w.alone(n, m)
		w.wipe(n)
		w.wipe(m)
	case 3, 4:
		n.backUp()
	case 5, 6:
		if n.disk.backup != nil {
			w.restore(n)
		}
	case 7:
		w.crash(n)
	case 8:
		if !w.plan.forgot { // else what it will count from may be behind what it forgot (DESIGN.md)
			w.hasty(n)
		}
	case 9:
		w.alone(n)
	case 10:
		w.alone(n, m)
	default:
		w.links.clear()
	}
}

// wipe takes a node's disk away, but not its backup.
func (w *world) wipe(n *node) {
	if !w.others(n) {
		return
	}
	w.note("wiped")
	b, at := n.disk.backup, n.disk.backed
	if n.up {
		n.down()
	}
	w.wiped(n)
	n.disk.backup, n.disk.backed = b, at
	w.after(w.between(100*time.Millisecond, 2*time.Second), n.start)
}

// hasty boots a node before its clock is set: what it counts by the clock begins an hour ahead.
func (w *world) hasty(n *node) { w.bootAt(n, time.Hour) }

// bootAt boots a node while its clock is ahead, and sets it at once.
func (w *world) bootAt(n *node, lead time.Duration) {
	w.note("hasty boot")
	if n.up {
		n.down()
	}
	n.set(lead)
	n.start()
	n.set(0)
}

// oldDisks: nodes come back out of backups from before all that everybody has forgotten.
func (w *world) oldDisks() {
	w.plan.keys += 2
	w.rage(w.client, func() { w.any().backUp() })
	w.rage(w.client, w.idle)
	w.quiet()
	w.pass(150*time.Minute, 4*time.Minute)
	w.rage(w.client, w.revive)
}

func (w *world) revive() {
	n, m := w.any(), w.any()
	switch p := w.rnd.IntN(10); {
	case p < 4:
		w.note("restored")
		if w.chance(2) {
			w.alone(n, m)
		}
		for _, o := range []*node{n, m} {
			if o.disk.backup != nil && w.others(o) {
				w.restore(o)
			}
		}
	case p < 5:
		w.note("clock off by an hour")
		w.plan.jumped = true
		w.alone(n)
		n.set(time.Hour)
	case p < 7:
		n.set(0)
	case p < 8:
		w.wipe(n)
	default:
		w.links.clear()
	}
}

func (n *node) backUp() {
	if n.up {
		n.disk.backup, n.disk.backed = n.disk.copy(), n.w.now
	}
}

// echoes: while a node that lost its disk learns what everybody has forgotten, one out of an old backup tells it of that.
func (w *world) echoes() {
	w.plan.keys, w.plan.write = 12, 60*time.Millisecond
	w.rage(w.client, w.idle)
	old := w.any()
	old.backUp()
	w.rage(w.client, w.idle)
	w.quiet()
	w.pass(150*time.Minute, 4*time.Minute)
	w.alone(old)
	w.restore(old)
	w.until(w.now+15*time.Second, nil)
	n := w.other(old)
	w.links.shut[old.i][n.i] = false // it is heard, and hears nothing
	w.wipe(n)
	w.rage(func() { w.at(old, w.key()) }, w.idle)
	w.alone(old)
	w.agree(slices.DeleteFunc(slices.Clone(w.nodes), func(o *node) bool { return o == old }))
}

// hastyBoots: a node counts from next year, loses its disk, and edits what only somebody absent knows that it edited before.
func (w *world) hastyBoots() {
	w.plan.keys, w.plan.chaos = 1+w.rnd.IntN(2), 2*time.Second
	w.rage(w.client, w.idle)
	w.quiet()
	n := w.any()
	absent := w.other(n)
	w.bootAt(n, year)
	edit := func() { w.at(n, w.key()) }
	w.alone(n, absent)
	w.rage(edit, w.idle)
	w.links.clear()
	w.alone(absent)
	w.wipe(n)
	w.until(w.now+w.between(3*time.Second, 12*time.Second), nil)
	w.rage(edit, w.idle)
}
