package store

import "time"

// Objects of Ephemeral and Local kinds use the same entries and lives, but nothing of theirs outlives its end: their
// UIDs are salted by the dot of their creation, so a delayed record of a former life cannot be taken for the new one.

func (c *core) mergePassing(now time.Time, r *Record) bool {
	c.clock.observe(r.Stamp)
	e := c.entry(r.Key)
	defer c.tidy(e)
	l := e.life(r.UID)
	if r.Op == Delete {
		if l == nil || len(l.versions) > 0 && outlives(now, l.versions[0], r) {
			return false
		}
		c.endPassing(e, l)
		return true
	}
	// One life a key: the newer creation or write replaces the older life.
	for _, o := range e.lives {
		if v := o.versions; o.uid != r.UID && len(v) > 0 {
			if outlives(now, v[0], r) {
				return false
			}
			c.endPassing(e, o)
			break
		}
	}
	if l == nil {
		if r.Part != Intent {
			return false
		}
		l = &life{uid: r.UID, key: &e.key}
		e.lives = append(e.lives, l)
	}
	var old *Record
	if r.Part == Intent && len(l.versions) > 0 {
		old = l.versions[0]
	} else if r.Part != Intent {
		old = l.parts[r.Part]
	}
	if old != nil && (r == old || outlives(now, old, r)) {
		return false
	}
	if old != nil {
		c.drop(old)
	}
	if r.Part == Intent {
		l.versions = []*Record{r}
	} else {
		l.parts[r.Part] = r
	}
	c.keep(r)
	c.touch(r.Key)
	c.crowd()
	return true
}

// outlives reports that old stands against r. What was dated by a clock that was ahead, and is right again, does not: nobody writes it
// anew, and whatever is written until then would be in vain.
func outlives(now time.Time, old, r *Record) bool {
	return !r.newer(old) && (early(now, r.Stamp) || !early(now, old.Stamp))
}

func (c *core) endPassing(e *entry, l *life) {
	for _, v := range l.versions {
		c.drop(v)
	}
	for _, p := range l.parts {
		if p != nil {
			c.drop(p)
		}
	}
	for i, o := range e.lives {
		if o == l {
			e.lives = append(e.lives[:i:i], e.lives[i+1:]...)
			break
		}
	}
	c.touch(e.key)
}

// crowd ends the oldest Ephemeral objects where there are too many.
func (c *core) crowd() {
	for c.passing.size() > c.cfg.EphemeralMax {
		c.endOldest()
	}
}

func (c *core) expire(now time.Time) {
	before := stampOf(now.Add(-c.cfg.EphemeralTTL))
	for c.passing.size() > 0 && c.passing.at(0).Stamp < before {
		c.endOldest()
	}
}

func (c *core) endOldest() {
	r := c.passing.at(0)
	e := c.known(r.Key)
	if e != nil {
		if l := e.life(r.UID); l != nil {
			c.endPassing(e, l)
			return
		}
	}
	c.passing = c.passing.without(r)
}
