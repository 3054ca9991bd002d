package sim

import (
	"slices"
	"time"
)

func (w *world) note(what string) {
	w.plan.happened[what]++
	w.tell("    %s", what)
}

// strike lets one thing go wrong, or get better.
func (w *world) strike() {
	n, m := w.any(), w.any()
	switch p := w.rnd.IntN(100); {
	case p < 10:
		w.note("split")
		w.split()
	case p < 16:
		w.note("one-way cut")
		w.links.shut[n.i][m.i] = n != m
	case p < 22:
		w.note("partial cut")
		w.links.shut[n.i][m.i], w.links.shut[m.i][n.i] = n != m, n != m
	case p < 27:
		w.note("flapping")
		w.flap(n, m, 6)
	case p < 31:
		w.note("isolated")
		w.alone(n)
	case p < 50:
		w.note("healed")
		w.links.clear()
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if w.chance(len(w.nodes)) {
					w.reconcile(a, b)
				}
			}
		}
	case p < 66:
		w.note("crash")
		w.crash(n)
	case p < 69:
		w.note("power cut")
		for _, o := range w.nodes {
			if w.chance(2) {
				w.crash(o)
			}
		}
	case p < 72:
		w.note("disk full")
		n.disk.full = true
		w.after(w.between(time.Second, 15*time.Second), func() { n.disk.full = false })
	case p < 75:
		w.note("disk slow")
		n.disk.slow = !n.disk.slow
	case p < 77:
		w.note("fsync failed")
		n.disk.broken = true
	case p < 80:
		if n.up && w.others(n) {
			w.note("page rotten")
			w.crash(n)
			n.disk.rot(w)
		}
	case p < 83:
		if n.up {
			w.note("backup")
			n.backUp()
		}
	case p < 86:
		if n.disk.backup != nil && w.others(n) {
			w.note("restored")
			w.restore(n)
		}
	case p < 88:
		if w.others(n) {
			w.note("replaced")
			w.replace(n)
		}
	case p < 92:
		w.note("clock off by an hour")
		w.plan.jumped = true
		n.set([]time.Duration{time.Hour, -time.Hour}[w.rnd.IntN(2)])
	case p < 93:
		w.note("clock a year ahead")
		w.plan.jumped, w.plan.leapt = true, true
		n.set(year)
		w.after(w.between(time.Second, 20*time.Second), func() { n.set(0) })
	default:
		w.note("clock set")
		n.set(w.between(-time.Second, time.Second))
	}
}

// others: somebody else is up, so that a lost disk is no loss of everything.
func (w *world) others(n *node) bool {
	for _, o := range w.nodes {
		if o != n && o.up {
			return true
		}
	}
	return false
}

func (w *world) split() {
	w.links.clear()
	side := map[int]int{}
	parts := 2 + w.rnd.IntN(2)
	for _, n := range w.nodes {
		side[n.i] = w.rnd.IntN(parts)
	}
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			w.links.shut[a.i][b.i] = side[a.i] != side[b.i]
		}
	}
}

// alone cuts some nodes off from all others, not from one another.
func (w *world) alone(some ...*node) {
	for _, n := range some {
		for _, o := range w.nodes {
			if !slices.Contains(some, o) {
				w.links.shut[n.i][o.i], w.links.shut[o.i][n.i] = true, true
			}
		}
	}
}

func (w *world) flap(a, b *node, times int) {
	if times == 0 || a == b {
		return
	}
	open := times%2 == 1
	w.links.shut[a.i][b.i], w.links.shut[b.i][a.i] = !open, !open
	w.after(w.between(300*time.Millisecond, 5*time.Second), func() {
		if w.chaos {
			w.flap(a, b, times-1)
		}
	})
}

// crash cuts the power. The batch under way is on the disk or it is not.
func (w *world) crash(n *node) {
	if !n.up {
		return
	}
	if n.disk.busy && !n.disk.full && w.chance(2) {
		n.disk.write(n.disk.under)
		w.oracle.wrote(w, n, n.disk.under)
	}
	n.down()
	w.after(w.between(100*time.Millisecond, 20*time.Second), n.start)
}

// wiped gives a node an empty disk: its file was corrupt and is set aside.
func (w *world) wiped(n *node) {
	n.disk = disk{}
	n.forgetful, w.plan.forgot = true, true
	w.oracle.forgot(n, 0)
}

func (w *world) restore(n *node) {
	if n.up {
		n.down()
	}
	w.tell("%s gets its backup of %s", n.name, n.disk.backed)
	b, at := n.disk.backup, n.disk.backed
	n.disk = *b.copy()
	n.disk.backup, n.disk.backed = b, at
	n.forgetful, w.plan.forgot = true, true
	w.oracle.forgot(n, at)
	w.after(w.between(100*time.Millisecond, 5*time.Second), n.start)
}

// replace evicts a node for good and puts a new one with a new identity into its place.
func (w *world) replace(n *node) {
	if n.up {
		n.down()
	}
	n.disk, n.fresh, n.forgetful = disk{}, true, true
	w.oracle.lost(n, 0)
	delete(w.byName, n.name)
	n.name += "'"
	w.byName[n.name] = n
	n.ever = map[[32]byte]bool{}
	w.after(w.between(100*time.Millisecond, 5*time.Second), n.start)
}
