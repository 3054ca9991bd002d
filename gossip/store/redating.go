package store

import (
	"slices"
	"time"
)

// redate mends what a clock that was far ahead did to this node. Its own stamps would stay ahead for as long, and its peers
// would hold all of them back: its writes would be of no use to anybody for a year. Nobody can have merged such records,
// so this node writes its own ones anew under the right time, and lets go of those of others, who do the same. Only what answers
// for a person's edit of this node it writes anew as well: without it, its next edit would answer for that one by its dot alone. An hour
// ahead is not worth it, for then it may as well be that the clock fell back: such stamps are waited for, and such records
// kept, for their authors will not write them again.
func (c *core) redate(now time.Time) {
	if c.clock.last <= stampOf(now.Add(maxLead)) || c.cfg.Fit != nil && c.cfg.Fit() != nil {
		return
	}
	limit := &Record{Stamp: stampOf(now.Add(maxLead)) + 1}
	i, _ := c.set.before(limit)
	var ahead []*Record
	c.set.slice(i, c.set.size(), func(r *Record) bool { ahead = append(ahead, r); return true })
	c.clock.last = stampOf(now)
	if i > 0 {
		c.clock.observe(c.set.at(i - 1).Stamp)
	}
	for _, p := range c.pending {
		p.stale = true
	}
	delete(c.heard, c.self)
	delete(c.holds, c.self)
	var written []*Record
	wasDead := map[*life]bool{}
	for _, r := range ahead {
		l := c.life(r.Key, r.UID)
		if l == nil {
			continue
		}
		if _, seen := wasDead[l]; !seen {
			wasDead[l] = l.dead()
		}
		c.take(l, r)
		if r.Dot.Actor != c.self && r.after().of(c.self).human == 0 {
			c.postpone(now, r)
			continue
		}
		if n := c.rewritten(now, r); n != nil {
			written = append(written, n)
		}
	}
	written = slices.DeleteFunc(written, func(r *Record) bool { return !c.merge(now, r) })
	for _, r := range ahead {
		c.touch(r.Key)
		if l := c.life(r.Key, r.UID); l != nil && len(l.versions) == 0 {
			c.end(l)
		} else if l != nil {
			c.turned(now, l, wasDead[l])
			wasDead[l] = l.dead()
		}
		if r.Part == Intent && c.life(r.Key, r.UID) == nil {
			c.lower(r.Kind, r.born()-1)
		}
	}
	c.reveal()
	c.emit(effect{vouched: true})
	c.publish(written)
}

// lower moves a horizon back behind the birth of a life whose only record another node will write anew: who tells a horizon holds
// every life from before it. Until a peer's is adopted again, this node knows no more than who forgot.
func (c *core) lower(kind string, at Stamp) {
	if at < c.horizon[kind] {
		c.horizon[kind], c.forgetful = at, true
		c.emit(effect{horizon: &horizonOf{kind, at}})
	}
}

// take removes one record of a life, and nothing else.
func (c *core) take(l *life, r *Record) {
	if r.Part != Intent {
		l.parts[r.Part] = nil
	} else if i := slices.Index(l.versions, r); i >= 0 {
		l.versions = slices.Delete(slices.Clone(l.versions), i, i+1)
	}
	c.drop(r)
}

// rewritten says again what r says, now, and with r in its context. It is a machine's, on top of the edit that r was: a copy of r
// may be written anew a second time, out of a backup, and whoever answers for the edit answers for every such copy.
func (c *core) rewritten(now time.Time, r *Record) *Record {
	c.counter++
	n := &Record{
		Key: r.Key, Part: r.Part, Op: r.Op, Claim: r.Claim, UID: r.UID, Root: r.Root, Body: r.Body, head: r.head, raised: r.raised, wrote: r.wrote,
		Dot: Dot{c.self, c.counter}, Stamp: c.clock.next(now, 0), Basis: r.Basis,
	}
	if r.Part == Intent {
		n.context = r.after()
		n.Born = min(r.born(), n.Stamp)
	}
	n.Basis.Stamp = min(n.Basis.Stamp, n.Stamp)
	if err := n.seal(c.cfg.Sign); err != nil {
		c.cfg.Log.Error("a record from the future could not be written anew, and is lost", "key", r.Key, "error", err)
		return nil
	}
	return n
}

// outdated reports that a record which was held back is no news: somebody saw it, answers for it and went on.
func (c *core) outdated(r *Record) bool {
	l := c.life(r.Key, r.UID)
	return l != nil && r.Part == Intent && slices.ContainsFunc(l.versions, func(v *Record) bool {
		return v.after().of(r.Dot.Actor).seen >= r.Dot.N && !r.after().humanBeyond(v.after())
	})
}
