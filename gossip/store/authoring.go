package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

var errBusy = errors.New("too many writes wait for this object")

type pendingWrite struct {
	ev    event
	recs  []*Record
	tries int
	stale bool // all that stands here was written anew since (redating.go)
}

func (c *core) write(now time.Time, ev event) {
	e := c.entry(ev.write.Key)
	if e.busy {
		if len(e.waiting) >= c.limits.waiting {
			c.refuse(ev, errBusy)
			return
		}
		e.waiting = append(e.waiting, ev)
		return
	}
	c.attempt(now, e, ev, 1)
}

// attempt authors the record and either merges it here or asks its home first.
func (c *core) attempt(now time.Time, e *entry, ev event, try int) {
	recs, err := c.author(now, e, ev)
	if err != nil {
		c.refuse(ev, err)
		c.tidy(e)
		return
	}
	if home := c.home(ev.write, recs[0]); home != "" {
		e.busy = true
		c.pending[ev.id] = &pendingWrite{ev: ev, recs: recs, tries: try}
		c.emit(effect{propose: &proposal{ev.id, home, recs, e.relied(recs[0])}})
		return
	}
	c.apply(now, e, ev, recs)
}

// relied are the tombstones that a creation builds on, the newest first: a home that lacks them would take the dead life
// for alive.
func (e *entry) relied(r *Record) []*Record {
	var out []*Record
	for _, l := range e.lives {
		if len(r.context) == 0 && r.Part == Intent && l.dead() {
			out = append(out, slices.DeleteFunc(slices.Clone(l.versions), func(v *Record) bool { return v.Op == Put })...)
		}
	}
	slices.SortFunc(out, func(a, b *Record) int { return b.compare(a) })
	return out[:min(len(out), maxRelied)]
}

// home is where the write has to be serialised; "" for here.
func (c *core) home(w *Write, r *Record) string {
	create := w.Base == nil && w.Op == Put
	if c.cfg.Home == nil || c.cfg.Propose == nil || w.Part != Intent || c.cfg.Class(w.Key) != Durable || create && w.Generated {
		return ""
	}
	if h := c.cfg.Home(r.Root); h != c.self {
		return h
	}
	return ""
}

func (c *core) refuse(ev event, err error) {
	c.emit(effect{answer: &answer{id: ev.id, key: ev.write.Key, err: err}})
}

// apply merges authored records, shows the result and answers the writer.
func (c *core) apply(now time.Time, e *entry, ev event, recs []*Record) {
	last := e.project()
	news := c.mergeOwn(now, recs)
	a := &answer{id: ev.id, key: e.key}
	if ev.write.Op == Delete {
		if a.obj = last; last == nil {
			a.obj = ev.write.Base // gossip brought our own delete back before the home's answer
		}
	} else {
		a.wrote = ev.write.outcome(recs[0])
	}
	c.emit(effect{answer: a})
	c.publish(news)
}

// doubt remembers records that a home may have accepted. A person's are merged instead: they survive as siblings.
func (c *core) doubt(recs []*Record) {
	for _, r := range recs {
		if l := c.life(r.Key, r.UID); l != nil {
			l.doubt = append(l.doubt[max(len(l.doubt)-maxDoubt+1, 0):len(l.doubt):len(l.doubt)], r)
		}
	}
}

// mergeOwn returns what counts and nobody told yet: gossip may have brought our own record back, or what followed it.
func (c *core) mergeOwn(now time.Time, recs []*Record) (news []*Record) {
	for _, r := range recs {
		durable := c.cfg.Class(r.Key) == Durable
		if durable && c.merge(now, r) || !durable && c.mergePassing(now, r) {
			news = append(news, r)
		}
	}
	c.reveal()
	return news
}

func (c *core) publish(news []*Record) {
	if len(news) > 0 && c.cfg.Class(news[0].Key) != Local {
		c.emit(effect{publish: news})
	}
}

// settled goes on with a write after its home spoke or stayed silent.
func (c *core) settled(now time.Time, p *proposed) {
	w := c.pending[p.write]
	if w == nil {
		return
	}
	delete(c.pending, p.write)
	e := c.entry(w.ev.write.Key)
	e.busy = false
	switch {
	case w.stale: // by its dot, it would count as seen by what was written anew
		c.doubt(w.recs)
		c.attempt(now, e, w.ev, w.tries+1)
	case p.err != nil && !w.ev.write.Human && !slices.Equal(e.version(), w.ev.base) && !c.counts(w.recs):
		c.doubt(w.recs)
		c.refuse(w.ev, ErrConflict)
	case c.forgotten(w.recs[0]):
		c.refuse(w.ev, ErrGone)
	case p.err != nil || p.verdict == accepted:
		c.apply(now, e, w.ev, w.recs)
	default:
		for _, r := range p.current {
			c.merge(now, r)
		}
		c.reveal()
		if create := w.ev.write.Base == nil && w.ev.write.Op == Put; create && len(e.living()) == 0 && w.tries < maxTries {
			c.attempt(now, c.entry(e.key), w.ev, w.tries+1)
			break
		}
		c.refuse(w.ev, p.verdict.err())
	}
	c.resume(now, w.ev.write.Key)
}

// forgotten tells that r would go to lost-and-found: it is of a life that everybody saw die so long ago that its tombstone is gone.
func (c *core) forgotten(r *Record) bool {
	return c.cfg.Class(r.Key) == Durable && c.life(r.Key, r.UID) == nil && r.born() <= c.horizon[r.Kind]
}

// counts tells that all of these records are here already, or what was made of them since: the home accepted them, and
// gossip was quicker than its answer, which got lost.
func (c *core) counts(recs []*Record) bool {
	for _, r := range recs {
		if _, here := c.set.get(r); !here && !c.followed(r) {
			return false
		}
	}
	return true
}

// followed tells that somebody who had seen r wrote a version that is here.
func (c *core) followed(r *Record) bool {
	l := c.life(r.Key, r.UID)
	return l != nil && slices.ContainsFunc(l.versions, func(v *Record) bool { return v.context.of(r.Dot.Actor).seen >= r.Dot.N })
}

// resume lets the writes go on that waited for a proposal.
func (c *core) resume(now time.Time, k Key) {
	e := c.entry(k)
	for !e.busy && len(e.waiting) > 0 {
		next := e.waiting[0]
		e.waiting = e.waiting[1:]
		c.attempt(now, e, next, 1)
	}
	c.tidy(e)
}

// author checks a write against what is known here and makes its records: the one asked for first, then the deletes of
// other lives of the same key that it settles.
func (c *core) author(now time.Time, e *entry, ev event) ([]*Record, error) {
	w := ev.write
	living := e.living()
	create := w.Base == nil && w.Part == Intent
	switch {
	case create && w.Op == Delete:
		return nil, fmt.Errorf("a delete needs the object that it is about: %w", ErrGone)
	case create && len(living) > 0:
		return nil, ErrExists
	case !create && len(living) == 0:
		return nil, ErrGone
	case w.Base != nil && living[0].uid.String() != w.Base.UID:
		return nil, ErrGone
	case w.Base != nil && !slices.Equal(e.version(), ev.base):
		return nil, ErrConflict
	}
	r := &Record{Key: w.Key, Part: w.Part, Op: w.Op, Human: w.Human && !w.Claim, Claim: w.Claim && w.Part == Intent, Body: w.Body, Root: w.Root}
	if r.Op == Delete {
		r.Body = nil
	}
	c.stamp(now, e, r)
	switch {
	case w.Part != Intent:
		r.UID, r.Root = living[0].uid, w.Key
		r.Human = false
	case create:
		r.UID = c.birth(e, r.Dot)
		r.head, r.wrote = head{}.advance(w.Head), 1
		if r.Claim {
			r.Basis = Basis{r.Dot, r.Stamp}
		}
		if w.Root == (Key{}) {
			r.Root = w.Key
		}
	default:
		c.follow(r, living[0], w)
	}
	if err := r.seal(c.cfg.Sign); err != nil {
		return nil, err
	}
	return c.settleOthers(now, e, r, living)
}

// follow makes r the next version of a life.
func (c *core) follow(r *Record, l *life, w *Write) {
	exec := l.alive()
	r.UID, r.Root = l.uid, exec.Root
	r.Claim, r.Human = exec.Claim, r.Human && !exec.Claim
	r.context = l.context(r.Human)
	r.context = r.context.below(r.Dot)
	r.Basis = exec.Basis
	r.Basis.Stamp = min(r.Basis.Stamp, r.Stamp) // later where the life is one in memory that is dated next year
	r.Born = min(l.born(), r.Stamp)
	shown, believed := l.head(), headOf(l.believed())
	want := max(believed.generation, w.Head.Generation)
	if len(l.doubt) > 0 { // where a doubtful write came about, this one changes what is asked for
		want = believed.generation + max(w.Head.Generation-shown.generation, 1)
	}
	if r.head = shown.advance(w.Head); w.Op == Delete {
		r.head, want = shown, believed.generation+1
	}
	for _, d := range l.doubt { // not shown to the writer, so what it leaves out there is not put back
		r.head = r.head.merge(d.head)
	}
	r.head.generation = 0
	for _, v := range l.believed() {
		r.head.generation = max(r.head.generation, v.head.generation)
	}
	l.raise(r, want)
}

func (c *core) birth(e *entry, d Dot) UID {
	if c.cfg.Class(e.key) != Durable {
		return newUID(e.key, nil, binary.BigEndian.AppendUint64([]byte(d.Actor), d.N))
	}
	var dead []UID
	for _, l := range e.lives {
		if l.dead() {
			dead = append(dead, l.uid)
		}
	}
	var salt []byte
	if c.forgetful { // the dead may be among what we forgot
		salt = binary.BigEndian.AppendUint64([]byte(d.Actor), d.N)
	} else if h := c.horizon[e.key.Kind]; h > 0 {
		salt = binary.BigEndian.AppendUint64(nil, uint64(h))
	}
	return newUID(e.key, dead, salt)
}

// stamp gives r its dot and a time after everything it builds on.
func (c *core) stamp(now time.Time, e *entry, r *Record) {
	after := c.horizon[r.Kind]
	follow := func(v *Record) {
		if c.cfg.Class(r.Key) == Durable || !early(now, v.Stamp) { // else it outlives nothing, and would take our clock along
			after = max(after, v.Stamp)
		}
	}
	for _, l := range e.lives {
		for _, v := range l.versions {
			follow(v)
		}
		for _, p := range l.parts {
			if p != nil {
				follow(p)
			}
		}
	}
	c.counter++
	r.Dot, r.Stamp = Dot{c.self, c.counter}, c.clock.next(now, after)
}

// settleOthers ends the other lives of a key that are alive after a merge: a person's write all of them, for it saw them
// as siblings; a machine's only those that no person ever edited.
func (c *core) settleOthers(now time.Time, e *entry, r *Record, living []*life) ([]*Record, error) {
	recs := []*Record{r}
	if r.Part != Intent || len(living) < 2 {
		return recs, nil
	}
	for _, l := range living[1:] {
		exec := l.alive()
		if !r.Human && exec.Basis != (Basis{}) && !exec.Claim {
			continue
		}
		d := &Record{Key: r.Key, Op: Delete, Human: r.Human}
		c.stamp(now, e, d)
		c.follow(d, l, &Write{Key: r.Key, Op: Delete, Human: r.Human})
		if err := d.seal(c.cfg.Sign); err != nil {
			return nil, err
		}
		recs = append(recs, d)
	}
	return recs, nil
}
