package store

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// life is one UID's register: the versions of its intent that no later write has both seen and settled, and the newest
// Status and Observation.
//
// Merging keeps the maximal elements of a strict partial order over records, so it is commutative, associative and
// idempotent whatever the records say (even if an author lies): the maxima of a union are the maxima of the maxima.
//
//	u replaces v  ⟺  u settles v, and u's author had seen all that v's author knew
//	u settles v   ⟺  u answers for strictly more human edits than v, or for the same ones and ranks higher
//	rank          =   delete before put, then stamp, dot, hash
//
// A version that is settled but was not seen by the winner's author stays as a witness until the next write: it is not
// shown, but its head counts, so that a deletion or a removed finalizer sticks and the generation rises.
type life struct {
	uid      UID
	key      *Key           // the entry's
	versions []*Record      // sorted by executing order, the greatest first
	parts    [Parts]*Record // [Intent] unused
	doubt    []*Record      // machines' writes of this node that a home may have accepted, and that their writers take for refused
}

func (u *Record) settles(v *Record) bool {
	c := u.after().humanCompare(v.after())
	return c.oInK && (!c.kInO || u.ranks(v) > 0)
}

func (u *Record) ranks(v *Record) int {
	return cmp.Or(u.claims(v), cmp.Compare(u.Op, v.Op), cmp.Compare(u.Stamp, v.Stamp), u.Dot.compare(v.Dot), bytes.Compare(u.hash[:], v.hash[:]))
}

// claims puts the older claim first, whatever was written about it since: its basis is where it was made.
func (u *Record) claims(v *Record) int {
	switch {
	case !u.Claim && !v.Claim:
		return 0
	case !u.Claim:
		return -1
	case !v.Claim:
		return 1
	}
	return cmp.Or(cmp.Compare(v.Basis.Stamp, u.Basis.Stamp), v.Basis.Dot.compare(u.Basis.Dot))
}

func (u *Record) replaces(v *Record) bool { return u.after().sees(v.after()) && u.settles(v) }

// executes orders the versions that nothing settles: what stands first is what the mesh does. A put that stands beside a
// delete carries a person's edit that the delete did not know, so puts go first.
func (u *Record) executes(v *Record) int {
	return cmp.Or(u.claims(v), cmp.Compare(v.Op, u.Op), cmp.Compare(u.Basis.Stamp, v.Basis.Stamp), cmp.Compare(u.Stamp, v.Stamp),
		u.Dot.compare(v.Dot), bytes.Compare(u.hash[:], v.hash[:]))
}

// merge takes an intent record in. It returns what it replaced, and whether r itself is there now and was not before.
func (l *life) merge(r *Record) (gone []*Record, added bool) {
	for _, v := range l.versions {
		if v.hash == r.hash || v.replaces(r) {
			return nil, false
		}
	}
	keep := make([]*Record, 0, len(l.versions)+1)
	for _, v := range l.versions {
		if r.replaces(v) {
			gone = append(gone, v)
		} else {
			keep = append(keep, v)
		}
	}
	keep = append(keep, r)
	slices.SortFunc(keep, func(a, b *Record) int { return b.executes(a) })
	l.versions = keep
	return gone, true
}

// unsettled are the versions that no other settles, the executing one first.
func (l *life) unsettled() []*Record {
	if len(l.versions) < 2 {
		return l.versions
	}
	var out []*Record
	for _, v := range l.versions {
		if !slices.ContainsFunc(l.versions, func(u *Record) bool { return u != v && u.settles(v) }) {
			out = append(out, v)
		}
	}
	return out
}

// alive returns the executing version, or nil where the life is over or has not begun.
func (l *life) alive() *Record {
	if u := l.unsettled(); len(u) > 0 && u[0].Op == Put {
		return u[0]
	}
	return nil
}

// dead reports a tombstone: the life was ended and no person's edit speaks against it.
func (l *life) dead() bool { return len(l.versions) > 0 && l.alive() == nil }

// head merges over all versions, witnesses included.
func (l *life) head() head { return headOf(l.versions) }

// headOf makes the generation rise whenever a merge changes what is asked for, and never fall. A single version shows what
// its creation said and what every actor added since (a counter per actor, so that a maximum joins them). Several show the
// number of all writes on top of that, so every further one raises it, also one that itself changed metadata alone: it may
// make another version execute. Whoever replaces several by one adds what they showed.
func headOf(versions []*Record) head {
	if len(versions) == 1 {
		h := head{}.merge(versions[0].head)
		raised, _ := versions[0].counts()
		h.generation += raised
		return h
	}
	var h head
	var k knowledge
	for _, v := range versions {
		h = h.merge(v.head)
		k = k.join(v.after(), false)
	}
	raised, wrote := k.counts()
	h.generation += raised
	if slices.ContainsFunc(versions, func(v *Record) bool { return !v.alike(versions[0]) }) {
		h.generation += wrote
	}
	return h
}

// alike reports that two versions are one for all that anybody can see: both the same, or creations of the same.
func (u *Record) alike(v *Record) bool {
	return u == v || len(u.context)+len(v.context) == 0 && u.same(v)
}

// raise makes r, which is about to become a version of l, show a generation of at least want, also where nobody knows of the
// versions that stay beside it here.
func (l *life) raise(r *Record, want int64) {
	own := knows(l.believed()).of(r.Dot.Actor)
	r.raised, r.wrote = own.raised, own.wrote+1
	r.complete()
	if short := want - headOf([]*Record{r}).generation; short > 0 {
		r.raised += uint64(short)
		r.complete()
	}
}

// believed are the versions, and what may be one elsewhere: the next write of this node replaces the latter by its dot alone,
// so it has to carry on what sticks.
func (l *life) believed() []*Record {
	return append(l.versions[:len(l.versions):len(l.versions)], l.doubt...)
}

// knows joins what the authors of all versions knew.
func knows(versions []*Record) (k knowledge) {
	for _, v := range versions {
		k = k.join(v.after(), false)
	}
	return k
}

// born is when the life was created, as far as anybody here knows.
func (l *life) born() Stamp {
	s := ^Stamp(0)
	for _, v := range l.versions {
		s = min(s, v.born())
	}
	return s
}

// same reports that two versions ask for the same thing: two people made one object alike.
func (u *Record) same(v *Record) bool {
	return u.UID == v.UID && u.Op == v.Op && bytes.Equal(u.Body, v.Body)
}

// context is what a new write on top of this life's view knows. A person's answers for all that was shown, a machine's for
// what executes and what equals it.
func (l *life) context(human bool) knowledge {
	var k knowledge
	all := l.unsettled()
	for _, v := range l.versions {
		answers := human || slices.Contains(all, v) && v.same(all[0])
		k = k.join(v.after(), answers)
	}
	return k
}

// entry is all that the store knows of one key: its lives, of which more than one may be alive after a merge.
type entry struct {
	key     Key
	lives   []*life // sorted by UID
	busy    bool    // a proposal is on its way: writes wait
	waiting []event
}

func (e *entry) compare(o *entry) int {
	return cmp.Or(strings.Compare(e.key.Kind, o.key.Kind), strings.Compare(e.key.Namespace, o.key.Namespace), strings.Compare(e.key.Name, o.key.Name))
}

func (e *entry) weight() sum { return sum{} }

func (e *entry) life(u UID) *life {
	for _, l := range e.lives {
		if l.uid == u {
			return l
		}
	}
	return nil
}

// living are the lives that are alive, the one shown first.
func (e *entry) living() []*life {
	var out []*life
	for _, l := range e.lives {
		if l.alive() != nil {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b *life) int { return b.alive().executes(a.alive()) })
	return out
}

// version is the state that a write's Base is compared with.
func (e *entry) version() []Dot {
	var out []Dot
	for _, l := range e.living() {
		for _, v := range l.versions {
			out = append(out, v.Dot)
		}
		for _, p := range l.parts {
			if p != nil {
				out = append(out, p.Dot)
			}
		}
	}
	return out
}

// project computes the view; nil where nothing is alive. Rev and Created are the view's to set.
func (e *entry) project() *Object { return e.row().object() }

func (e *entry) row() *row {
	living := e.living()
	switch {
	case len(living) == 0:
		return nil
	case len(living) > 1 || len(living[0].versions) > 1:
		return &row{whole: e.join(living)}
	}
	recs := living[0].parts
	recs[Intent] = living[0].versions[0]
	return &row{sole: recs}
}

// join computes the view of several versions or lives.
func (e *entry) join(living []*life) *Object {
	l := living[0]
	all := l.unsettled()
	exec := all[0]
	o := exec.show(l.parts)
	o.Head, o.version = l.head().public(), e.version()
	others := all[1:]
	if exec.Claim { // what lost is settled, and its owner must hear of it
		others = slices.DeleteFunc(slices.Clone(l.versions), func(v *Record) bool { return v.Op == Delete || v.Basis == exec.Basis })
	}
	o.Others = siblings(exec, others, living[1:])
	return o
}

// show is the object that the executing intent makes together with parts, its head and version aside.
func (u *Record) show(parts [Parts]*Record) *Object {
	o := &Object{Key: u.Key, UID: u.UID.String(), Human: u.Human, Author: u.Dot.Actor, Root: u.Root}
	o.Bodies[Intent] = u.Body
	for p := Intent + 1; p < Parts; p++ {
		if r := parts[p]; r != nil {
			o.Bodies[p] = r.Body
		}
	}
	return o
}

func siblings(exec *Record, others []*Record, lives []*life) []Sibling {
	var recs []*Record
	for _, v := range others {
		if !v.same(exec) {
			recs = append(recs, v)
		}
	}
	for _, l := range lives {
		for _, v := range l.unsettled() {
			if v.Basis != (Basis{}) && !(v.Op == Put && bytes.Equal(v.Body, exec.Body)) {
				recs = append(recs, v)
			}
		}
	}
	slices.SortFunc(recs, func(a, b *Record) int { return b.executes(a) })
	var out []Sibling
	for _, v := range recs {
		out = append(out, Sibling{Author: v.Basis.Dot.Actor, Time: v.Basis.Stamp.Milliseconds(), Delete: v.Op == Delete, Body: v.Body})
	}
	return out
}
