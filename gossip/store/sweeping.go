package store

import "time"

// tick does what time alone brings about: records become due, events expire, tombstones are purged.
func (c *core) tick(now time.Time) {
	c.redate(now)
	c.vouch(now)
	c.due(now)
	c.expire(now)
	c.reveal()
	if c.swept.IsZero() {
		c.swept = now
	}
	if now.Sub(c.swept) >= sweepEvery {
		c.swept = now
		c.sweep(now)
	}
}

// sweep purges tombstones that are old enough and that every member holds, and moves the kind's horizon past them: from
// then on a record of an unknown life from before the horizon is not merged but kept in lost-and-found, so nothing that
// was deleted comes back with a member that was away. Old is what is old by everybody's clock: one that is a year ahead must
// not purge what somebody else is still editing.
func (c *core) sweep(now time.Time) {
	held := c.heldBack(now)
	for _, l := range c.tombstones("", stampOf(now)) {
		last := l.last()
		old := last + Stamp(c.cfg.TombstoneTTL(l.key.Kind).Milliseconds())<<16
		if last < held && old < stampOf(now) && c.everywhere(old) {
			c.raise(l.key.Kind, last)
			c.purge(l)
		}
	}
}

// tombstones are the lives of a kind ("": any) that are over since at most the given stamp, in order of their end.
func (c *core) tombstones(kind string, upTo Stamp) []*life {
	var out []*life
	c.set.all(func(r *Record) bool {
		if r.Op == Delete && (kind == "" || r.Kind == kind) {
			if l := c.life(r.Key, r.UID); l != nil && l.dead() && l.versions[0].hash == r.hash && l.last() <= upTo {
				out = append(out, l)
			}
		}
		return r.Stamp <= upTo
	})
	return out
}

func (l *life) last() Stamp {
	var s Stamp
	for _, v := range l.versions {
		s = max(s, v.Stamp)
	}
	return s
}

func (c *core) raise(kind string, at Stamp) {
	if at > c.horizon[kind] {
		c.horizon[kind] = at
		c.emit(effect{horizon: &horizonOf{kind, at}})
	}
}

func (c *core) purge(l *life) {
	c.end(l)
	c.held.take(l.uid)
	c.emit(effect{show: &shown{key: *l.key, purged: []UID{l.uid}, only: true}})
}

// end takes a life out of the store without a trace of its own.
func (c *core) end(l *life) {
	for _, v := range l.versions {
		c.drop(v)
	}
	for _, p := range l.parts {
		if p != nil {
			c.drop(p)
		}
	}
	e := c.known(*l.key)
	for i, o := range e.lives {
		if o == l {
			e.lives = append(e.lives[:i:i], e.lives[i+1:]...)
			break
		}
	}
	c.tidy(e)
}

// heldBack is the birth of the oldest unknown life of which a record waits here because it is ahead of this node's clock: who
// tells a horizon must hold every life from before it, or its peers would take theirs for zombies. What is more than a day ahead
// counts while its author is there to write it anew (redating.go), for what is written anew keeps its birth. Once that has
// come, the old one waits no longer: it must not hold anything back when its life will be purged.
func (c *core) heldBack(now time.Time) Stamp {
	s := ^Stamp(0)
	var past []*Record
	c.early.all(func(r *Record) bool {
		switch {
		case c.outdated(r):
			past = append(past, r)
		case c.cfg.Class(r.Key) == Durable && c.older(r) && (r.Stamp <= stampOf(now.Add(maxLead)) || c.member(r.Dot.Actor)):
			s = min(s, r.born())
		}
		return true
	})
	for _, r := range past {
		c.early = c.early.without(r)
	}
	return s
}

// older tells that a record's life is unknown here, or not known to be as old as the record says: the same object may have been
// made twice, at times that differ.
func (c *core) older(r *Record) bool {
	l := c.life(r.Key, r.UID)
	return l == nil || r.born() < l.born()
}

// adopt takes over a peer's horizons after both sides hold the same records: what the peer purged goes here too.
func (c *core) adopt(now time.Time, hs []horizonOf) {
	held := c.heldBack(now)
	for _, h := range hs {
		if h.at <= c.horizon[h.kind] || h.at >= held {
			continue
		}
		c.raise(h.kind, h.at)
		for _, l := range c.tombstones(h.kind, h.at) {
			c.purge(l)
		}
	}
}
