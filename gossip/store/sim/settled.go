package sim

import (
	"cmp"
	"slices"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Followed counts the acknowledged writes of durable kinds that were followed to the quiet at a history's end: all but those where
// somebody forgot what the promise rests on.
type Followed struct {
	Edits    int // people's puts
	Machines int // machines' puts
	Deletes  int
	Statuses int // of what is there still
	Claims   int // and their releases
}

// Add takes the writes of a further history in.
func (f *Followed) Add(o Followed) {
	f.Edits, f.Machines, f.Deletes = f.Edits+o.Edits, f.Machines+o.Machines, f.Deletes+o.Deletes
	f.Statuses, f.Claims = f.Statuses+o.Statuses, f.Claims+o.Claims
}

// picture is what all nodes show once all is quiet.
type picture struct {
	alive map[string]*store.Object // by UID
	at    map[store.Key]*store.Object
}

func (w *world) picture() picture {
	p := picture{map[string]*store.Object{}, map[store.Key]*store.Object{}}
	for _, kind := range []string{pods, things, claims} {
		for _, s := range w.nodes[0].r.Objects(kind) {
			p.alive[s.UID], p.at[s.Key] = s, s
		}
	}
	return p
}

// settled checks everything that was promised, once all nodes show the same.
func (o *oracle) settled(w *world) {
	p := w.picture()
	for _, x := range o.ops {
		if x.acked && !x.exempt && classOf(x.w.Key) == store.Durable {
			o.honoured(w, x, p)
		}
	}
}

// honoured checks what was promised of one acknowledged write.
func (o *oracle) honoured(w *world, x *op, p picture) {
	done := &o.followed
	switch {
	case x.w.Part != store.Intent:
		if s := p.alive[x.uid]; s != nil && !w.plan.leapt && !o.dropped(x) {
			done.Statuses++
			o.reported(w, x, s)
		}
	case x.w.Kind == claims:
		if !w.plan.leapt {
			done.Claims++
			o.claimed(w, x, p)
		}
	case x.w.Op == store.Delete:
		done.Deletes++
		if s := p.alive[x.uid]; s != nil && within(o.answered(s), x.answers) && !o.repeats(s) {
			w.fail("w%d deleted %s, and it is there: %s", x.id, x.w.Key, describe(s))
		}
	case x.w.Human:
		done.Edits++
		if !o.kept(x, p) && !(w.plan.forgot && o.setAside(x)) {
			w.fail("the acknowledged edit w%d of %s %.8s is lost (was on %v)", x.id, x.w.Key, x.uid, x.holders)
		}
	case !w.plan.leapt && !o.forgotten[x.w.Key]: // else writes have other stamps, or answer for other edits, than was seen here
		done.Machines++
		if !o.outdone(x, p) && !(w.plan.forgot && o.setAside(x)) {
			w.fail("the acknowledged w%d of a machine on %s %.8s is lost, and nothing goes before it: %s (was on %v)", x.id, x.w.Key, x.uid, describe(p.at[x.w.Key]), x.holders)
		}
	}
}

// kept: a person's edit is shown, or something that answers for it is or ended the object.
func (o *oracle) kept(x *op, p picture) bool {
	if s := p.at[x.w.Key]; s != nil {
		all := o.answered(s)
		for _, sib := range s.Others {
			o.addSibling(all, s.Key, sib)
		}
		if all[x.id] {
			return true
		}
	}
	for _, d := range o.about[x.w.Key] {
		if d.answers[x.id] && (d.sure && (d.w.Op == store.Delete || len(d.graves) > 0) || (d.acked || !d.closed || d.doubtful) && o.ended(d)) {
			return true
		}
	}
	return false
}

// outdone: a machine's put stays until something settles it: what answers for more people's edits, or for the same ones and is a delete or
// was put later. What settles it may be settled in turn, by what then settles both; so one that does is shown, or ended the life.
func (o *oracle) outdone(x *op, p picture) bool {
	s := p.at[x.w.Key]
	for u := range x.made {
		settles := func(y *op) bool { return o.settles(y, x, u) }
		if s != nil && slices.ContainsFunc(o.puts(s), func(y *op) bool { return y.made[u] && settles(y) }) {
			return true
		}
		here := s != nil && s.UID == u.String()
		if here && !slices.ContainsFunc(s.Others, func(b store.Sibling) bool { return b.Delete }) {
			continue
		}
		if slices.ContainsFunc(o.deletes[u.String()], func(d *op) bool { return (d.sure || o.ended(d)) && settles(d) }) || s != nil && !here && o.hidden(x, u, s) {
			return true
		}
	}
	return false
}

// settles is the order among the records of one life, told by what their writers saw and by their stamps.
func (o *oracle) settles(y, x *op, u store.UID) bool {
	for id := range x.answers {
		if o.ops[id].made[u] && !y.answers[id] {
			return false
		}
	}
	for id := range y.answers {
		if o.ops[id].made[u] && !x.answers[id] {
			return true
		}
	}
	return !y.made[u] || y.stamp >= x.stamp // what made nothing of a life ended it
}

// hidden: of two lives of one key the one with the later edit is shown, and the other one only where a person edited it. Where nobody
// edited either, the later one is.
func (o *oracle) hidden(x *op, u store.UID, s *store.Object) bool {
	for id := range x.answers {
		if o.ops[id].made[u] {
			return false
		}
	}
	y := o.bodies[string(s.Bodies[store.Intent])]
	return y != nil && (len(y.answers) > 0 || y.stamp >= x.stamp)
}

// puts are the writes that an object shows, the executing one first.
func (o *oracle) puts(s *store.Object) []*op {
	var out []*op
	if y := o.bodies[string(s.Bodies[store.Intent])]; y != nil {
		out = append(out, y)
	}
	for _, b := range s.Others {
		if y := o.bodies[string(b.Body)]; y != nil && !b.Delete {
			out = append(out, y)
		}
	}
	return out
}

// setAside: an edit of an object that everybody else had purged, on a node out of an old backup, goes to lost-and-found, and so
// does what was written on top of it.
func (o *oracle) setAside(x *op) bool {
	return slices.ContainsFunc(o.found, func(f *op) bool {
		for u := range f.made {
			if o.buried[u] && (f.answers[x.id] || !x.w.Human && x.made[u]) {
				return true
			}
		}
		return false
	})
}

// reported: of the statuses of one life the latest is shown, by the stamps of those who wrote them.
func (o *oracle) reported(w *world, x *op, s *store.Object) {
	y := o.statuses[string(s.Bodies[store.Status])]
	switch {
	case y == nil || y.uid != s.UID:
		w.fail("the acknowledged status w%d of %s %.8s is lost, and it shows %q", x.id, s.Key, s.UID, s.Bodies[store.Status])
	case y.stamp < x.stamp:
		w.fail("%s %.8s shows the status w%d, and the later w%d was acknowledged", s.Key, s.UID, y.id, x.id)
	}
}

// dropped: where a life was over for somebody, its statuses went, and need not come back with the edit that revives it.
func (o *oracle) dropped(x *op) bool {
	for u := range x.made {
		if o.buried[u] {
			return true
		}
	}
	return false
}

// claimed: of claims of one thing the oldest stays, with what its holder wrote last, until the holder lets it go.
func (o *oracle) claimed(w *world, x *op, p picture) {
	s := p.at[x.w.Key]
	var y *op
	if s != nil {
		y = o.bodies[string(s.Bodies[store.Intent])]
	}
	if x.w.Op == store.Delete {
		if was := o.bodies[string(x.w.Base.Bodies[store.Intent])]; s != nil && s.UID == x.uid && !older(y.claim, was.claim) {
			w.fail("w%d released %s, and it is claimed by w%d: %s", x.id, x.w.Key, y.id, describe(s))
		}
		return
	}
	if y != nil && (older(y.claim, x.claim) || y.claim == x.claim && y.stamp >= x.stamp) {
		return
	}
	for u := range x.made {
		let := func(b store.Basis) bool { return !older(x.claim, b) }
		if (s == nil || s.UID != u.String()) && slices.ContainsFunc(o.released[u], let) {
			return
		}
	}
	w.fail("%s was claimed by w%d, nobody let it go, and it shows %s", x.w.Key, x.id, describe(s))
}

func older(a, b store.Basis) bool {
	return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), cmp.Compare(a.Dot.Actor, b.Dot.Actor), cmp.Compare(a.Dot.N, b.Dot.N)) < 0
}
