package sim

import (
	"fmt"
	"time"
)

// story is the whole history: chaos, sometimes an absence and more chaos, then quiet, and what must be true then.
func (w *world) story() {
	w.begin()
	for round := range w.plan.rounds {
		if round > 0 {
			w.absence()
		}
		w.rage(w.client, w.strike)
	}
	w.quiet()
	w.judgement()
	w.calm()
}

func (w *world) begin() {
	for _, n := range w.nodes {
		n.ever = map[[32]byte]bool{}
		n.boot()
	}
	w.until(w.now+2*time.Second, nil)
}

// rage lets clients and faults loose for a while.
func (w *world) rage(client, strike func()) {
	w.chaos = true
	end := w.now + w.plan.chaos
	on := func() bool { return w.chaos && w.now < end }
	w.every(func() time.Duration { return w.between(w.plan.write/4, w.plan.write*2) }, on, client)
	w.every(func() time.Duration { return w.between(w.plan.fault/4, w.plan.fault*2) }, on, strike)
	if w.plan.liar {
		w.every(func() time.Duration { return w.between(time.Second, 5*time.Second) }, on, w.authors.speak)
	}
	w.until(end, nil)
	w.chaos = false
}

// absence lets hours or a month pass, in which nodes may be away, evicted, or both; ticks are rare then.
func (w *world) absence() {
	w.mend()
	span, pace := 3*time.Hour, 4*time.Minute
	if w.chance(2) {
		span, pace = 31*24*time.Hour, 8*time.Hour
	}
	var away []*node
	if w.chance(3) {
		w.until(w.now+w.between(0, 40*time.Second), nil)
	}
	for range w.rnd.IntN(3) {
		n := w.any()
		if n.up && !n.away && len(w.members()) > 2 {
			n.away = true
			if w.chance(2) && len(away) < len(w.nodes)/2 {
				n.member = false
				w.oracle.evicted(w, n)
				w.note("evicted")
			}
			if w.chance(2) {
				n.down()
			} else {
				w.alone(n)
			}
			away = append(away, n)
			w.note("away")
		}
	}
	w.tell("%s pass, without %v", span, names(away))
	tick, repair := w.plan.tick, w.plan.repair
	end := w.now + span
	w.pace(pace, pace)
	w.every(func() time.Duration { return span / 20 }, func() bool { return w.now < end }, w.client)
	w.until(end, nil)
	w.links.clear()
	for _, n := range away {
		evicted := !n.member
		n.away, n.member = false, true
		if evicted { // nobody lets the old identity in again
			w.replace(n)
		}
		n.start()
	}
	for _, n := range w.nodes {
		if n.time().Sub(w.clock()) > 30*time.Second { // drifted, and with it the stamps
			w.plan.jumped = true
		}
		n.set(w.between(-2*time.Second, 2*time.Second))
	}
	if w.chance(2) { // time to purge, before the next chaos
		w.pace(4*time.Minute, 4*time.Minute)
		w.until(w.now+2*time.Hour, nil)
	}
	w.pace(tick, repair)
}

func names(ns []*node) (out []string) {
	for _, n := range ns {
		out = append(out, n.name)
	}
	return out
}

// mend takes all faults away.
func (w *world) mend() {
	w.links.clear()
	for _, n := range w.nodes {
		n.disk.full, n.disk.broken, n.disk.slow = false, false, false
		n.set(w.between(-2*time.Second, 2*time.Second))
		n.start()
	}
}

// quiet ends all faults and waits until every node holds the same: 60 virtual seconds, once no stamp is ahead any more.
func (w *world) quiet() {
	w.mend()
	w.tell("quiet")
	if w.plan.jumped {
		w.pass(66*time.Minute, 2*time.Minute)
	}
	began := w.now
	w.agree(w.nodes)
	w.plan.converged = w.now - began
	w.oracle.rest(w)
}

// agree waits until nodes hold the same, which takes a minute at most.
func (w *world) agree(nodes []*node) {
	if !w.until(w.now+60*time.Second, func() bool { return same(nodes) }) {
		w.differ(nodes)
	}
}

// pass lets time go by; ticks are rare then.
func (w *world) pass(span, pace time.Duration) {
	tick, repair := w.plan.tick, w.plan.repair
	w.pace(pace, pace)
	w.until(w.now+span, nil)
	w.pace(tick, repair)
}

// same: all are up, all roots equal, nothing is under way.
func same(nodes []*node) bool {
	root, n := nodes[0].r.Root()
	for _, o := range nodes {
		if !o.up {
			return false
		}
		z := o.r.Sizes()
		if r, k := o.r.Root(); r != root || k != n || z.Pending > 0 || z.Gathered > 0 || o.disk.busy || z.Records != n {
			return false
		}
	}
	return true
}

func (w *world) differ(nodes []*node) {
	a := nodes[0]
	for _, b := range nodes[1:] {
		x, y := a.r.Dump(), b.r.Dump()
		if only := difference(x, y) + difference(y, x); only != "" {
			w.tell("%s %s\n%s %s", a.name, a.r.Memory(a.time()), b.name, b.r.Memory(b.time()))
			w.fail("60 s after the last fault %s and %s differ (%d and %d records):\nonly %s:\n%sonly %s:\n%s", a.name, b.name, len(x), len(y), a.name, difference(x, y), b.name, difference(y, x))
		}
	}
	out := ""
	for _, n := range nodes {
		out += fmt.Sprintf("%s %+v %v\n", n.name, n.r.Sizes(), n.disk.busy)
	}
	w.fail("60 s after the last fault something is still under way:\n%s", out)
}

func difference(a, b []string) string {
	has := map[string]bool{}
	for _, s := range b {
		has[s] = true
	}
	out := ""
	for _, s := range a {
		if !has[s] {
			out += "  " + s + "\n"
		}
	}
	return out
}

// judgement checks all promises, and that what is in memory is what is on disk.
func (w *world) judgement() {
	for _, n := range w.nodes[1:] {
		w.oracle.equal(w, w.nodes[0], n)
	}
	w.oracle.settled(w)
	n := w.any()
	root, _ := n.r.Root()
	n.down()
	n.boot()
	if again, _ := n.r.Root(); again != root {
		w.fail("%s holds other records after a restart", n.name)
	}
}
