package store

import "time"

// tick does what time alone brings about: records become due, events expire, tombstones are purged.
func (c *core) tick(now time.Time) {
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
// was deleted comes back with a member that was away. The rule is sound because AllSeen(t) says that no member lacks a
// tombstone stamped before t; without AllSeen nothing is purged.
func (c *core) sweep(now time.Time) {
	if c.cfg.AllSeen == nil {
		return
	}
	var due []*life
	c.set.all(func(r *Record) bool {
		if r.Op == Delete && r.Stamp < stampOf(now.Add(-c.cfg.TombstoneTTL(r.Kind))) {
			if l := c.lives[r.UID]; l != nil && l.dead() && l.versions[0].hash == r.hash {
				due = append(due, l)
			}
		}
		return r.Stamp < stampOf(now)
	})
	for _, l := range due {
		last := l.last()
		if c.cfg.AllSeen(last.Time().Add(time.Millisecond)) {
			c.raise(l.key.Kind, last)
			c.purge(l)
		}
	}
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
	for _, v := range l.versions {
		c.drop(v)
	}
	delete(c.lives, l.uid)
	e := c.entries[l.key]
	for i, o := range e.lives {
		if o == l {
			e.lives = append(e.lives[:i:i], e.lives[i+1:]...)
			break
		}
	}
	c.tidy(e)
	c.emit(effect{show: &shown{key: l.key, purged: []UID{l.uid}, only: true}})
}

// adopt takes over a peer's horizons after both sides hold the same records: what the peer may have purged goes here too.
func (c *core) adopt(hs []horizonOf) {
	for _, h := range hs {
		if h.at <= c.horizon[h.kind] {
			continue
		}
		c.raise(h.kind, h.at)
		var due []*life
		c.set.all(func(r *Record) bool {
			if r.Op == Delete && r.Kind == h.kind && r.Stamp <= h.at {
				if l := c.lives[r.UID]; l != nil && l.dead() && l.versions[0].hash == r.hash && l.last() <= h.at {
					due = append(due, l)
				}
			}
			return r.Stamp <= h.at
		})
		for _, l := range due {
			c.purge(l)
		}
	}
}
