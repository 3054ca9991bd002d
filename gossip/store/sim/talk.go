package sim

import (
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// talk is a reconciliation: two sessions and a stream between them, which keeps its order and breaks when a line is cut or
// an end goes down.
type talk struct {
	w     *world
	ends  [2]*end
	over  bool
	began time.Duration
}

type end struct {
	t    *talk
	n    *node
	life int
	s    *store.Session
	in   [][]byte
	busy bool // waits for a reply
	done bool
	wise bool          // it knew what the mesh had forgotten when it began to speak
	last time.Duration // when the last frame of this end arrives
}

const maxTalks = 2 // asked for, and served, at a time

func (w *world) reconcile(a, b *node) {
	if a == b || !a.up || !b.up || a.talks >= maxTalks || b.served >= maxTalks || !w.links.open(a.i, b.i) || !w.links.open(b.i, a.i) {
		return
	}
	t := &talk{w: w, began: w.now}
	a.talks++
	b.served++
	t.ends[0] = &end{t: t, n: a, life: a.lives, wise: a.wise(), s: a.r.Session(true)}
	t.ends[1] = &end{t: t, n: b, life: b.lives, wise: b.wise(), s: b.r.Session(false)}
	w.after(60*time.Second, t.abort)
	t.ends[0].speak(t.ends[1])
}

func (n *node) wise() bool { return !n.fresh && !n.forgetful }

func (t *talk) alive() bool {
	for i, e := range t.ends {
		o := t.ends[1-i]
		if !e.n.up || e.n.lives != e.life || !t.w.links.open(e.n.i, o.n.i) {
			return false
		}
	}
	return true
}

func (t *talk) abort() {
	if t.over {
		return
	}
	t.over = true
	for i, e := range t.ends {
		if e.n.lives == e.life {
			if i == 0 {
				e.n.talks--
			} else {
				e.n.served--
			}
		}
	}
}

// speak sends all frames of a turn; each takes its time, and none overtakes another.
func (e *end) speak(to *end) {
	w := e.t.w
	for f := e.s.Next(); f != nil; f = e.s.Next() {
		e.n.out += len(f) + overhead
		at := max(w.now+w.delay(), e.last)
		e.last = at
		w.after(at-w.now, func() {
			if e.t.over {
				return
			}
			if !e.t.alive() {
				e.t.abort()
				return
			}
			to.in = append(to.in, f)
			to.listen(e)
		})
	}
	e.finish(to)
}

func (e *end) finish(to *end) {
	if !e.s.Over() || e.done {
		return
	}
	e.done = true
	if in, ok := e.s.Conclude(); ok {
		e.n.step(in)
	}
	if to.wise {
		e.n.fresh, e.n.forgetful = false, false // the disk says by itself whether there is more to learn
	}
	e.t.w.oracle.met(e.t.w, to.n, e.n, e.t.began)
	if to.done {
		e.t.abort()
	}
}

func (e *end) listen(from *end) {
	w := e.t.w
	for len(e.in) > 0 && !e.busy && !e.t.over {
		f := e.in[0]
		e.in = e.in[1:]
		id := w.id()
		in, ok, err := e.s.Hear(id, f)
		if err != nil {
			w.tell("%s ends its talk with %s: %v", e.n.name, from.n.name, err)
			w.oracle.broken(w, e.n, from.n, err)
			e.t.abort()
			return
		}
		if ok {
			e.busy = true
			e.n.ask(id, in, func(r *store.Reply) {
				e.busy = false
				if r.Err != nil || !e.t.alive() {
					e.t.abort()
					return
				}
				e.listen(from)
			})
			continue
		}
		e.speak(from)
	}
}
