package store

import (
	"maps"
	"slices"
	"time"
)

// load fills the core and the view from disk.
func (c *core) load(s *saved, v *view) {
	c.horizon = s.horizon
	c.set = grow(s.records)
	// A tree that grew entry by entry would leave more garbage than there are entries.
	c.loading = make(map[Key]*entry, len(s.records))
	for _, part := range [...]bool{false, true} { // intents first, then what is bound to them
		for _, r := range s.records {
			if (r.Part != Intent) == part {
				c.restore(r)
			}
		}
	}
	c.out = c.out[:0]
	for _, k := range c.touched {
		e := c.known(k)
		if r := e.row(); r != nil {
			v.load(r)
		}
		for _, l := range e.lives {
			if l.dead() {
				v.dead[l.uid] = struct{}{}
			}
		}
	}
	c.entries = grow(slices.SortedFunc(maps.Values(c.loading), (*entry).compare))
	c.loading = nil
	v.arrange()
	c.acted, c.touched = map[Key]bool{}, nil // not cleared: they were as large as the store
}

// restore takes a record from disk, which is in the set already, and out of the set again where it does not count.
func (c *core) restore(r *Record) {
	c.out = c.out[:0]
	c.counter = max(c.counter, r.after().of(c.self).seen)
	c.clock.observe(r.Stamp)
	counts := false
	if r.Part == Intent {
		counts = c.mergeIntent(time.Time{}, r)
	} else if l := c.life(r.Key, r.UID); l != nil {
		counts = c.mergePart(l, r)
	}
	if !counts {
		c.set = c.set.without(r)
	}
}
