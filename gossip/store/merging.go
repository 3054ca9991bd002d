package store

import (
	"bytes"
	"slices"
	"time"
)

// receive merges what peers sent. Order and repetition do not matter.
func (c *core) receive(now time.Time, ev event) {
	var news []*Record
	for _, r := range ev.receive {
		if c.merge(now, r) {
			news = append(news, r)
		}
	}
	c.reveal()
	if ev.id != 0 {
		c.emit(effect{answer: &answer{id: ev.id, current: news}})
	}
}

// merge takes one record in and reports whether it counts now. The caller reveals.
func (c *core) merge(now time.Time, r *Record) bool {
	if r.Dot.Actor == c.self || c.cfg.Forgetful { // others may lie about our dots, but who forgot them must ask
		c.recall(now, r.after().of(c.self).seen)
	}
	if r.Dot.Actor != c.self && early(now, r.Stamp) {
		return c.postpone(now, r)
	}
	switch c.cfg.Class(r.Key) {
	case Local:
		return false // another node's idea of what is local is no concern of ours
	case Ephemeral:
		return c.mergePassing(now, r)
	}
	if _, known := c.set.get(r); known {
		return false
	}
	l := c.life(r.Key, r.UID)
	if c.forgotten(r) {
		if r.Part == Intent && r.Op == Put {
			c.emit(effect{lose: r}) // its tombstone may have been purged: no resurrection
		}
		return false
	}
	c.clock.observe(r.Stamp)
	if r.Part == Intent {
		return c.mergeIntent(now, r)
	}
	return c.mergePart(l, r)
}

// recallGap is more than what all lives of a disk that was lost may have used: every one jumps by markAhead, and begins above the
// microseconds of its clock, which may have been a year ahead.
const recallGap = 1 << 45

// recall goes on counting behind a dot of ours that comes back after our disk was lost, and behind all that may still come.
func (c *core) recall(now time.Time, n uint64) {
	if n > c.counter && n>>62 == 0 { // more than that nobody ever counted
		c.counter = farFrom(n, now)
	}
}

// recalled is where lives count that followed another without its memory: above whatever the others count, and by the clock, so that
// a later one begins above an earlier one of which it has heard nothing.
const recalled = 1 << 60

// farFrom is where to count on after n. Another life may have done so from there, but not at this time. Where n is ahead of the
// clock, so may that life be.
func farFrom(n uint64, now time.Time) uint64 {
	micros := uint64(max(now.UnixMicro(), 0))
	if n < recalled+micros {
		return recalled + micros
	}
	return n + recallGap + micros%recallGap
}

func (c *core) mergeIntent(now time.Time, r *Record) bool {
	e := c.entry(r.Key)
	l := e.life(r.UID)
	fresh := l == nil
	if fresh {
		l = &life{uid: r.UID, key: &e.key}
		i, _ := slices.BinarySearchFunc(e.lives, r.UID, func(l *life, u UID) int { return bytes.Compare(l.uid[:], u[:]) })
		e.lives = slices.Insert(e.lives, i, l)
	}
	wasDead := l.dead()
	if r.Dot.Actor == c.self { // it covers what was in doubt before, or is that
		l.doubt = slices.DeleteFunc(slices.Clone(l.doubt), func(d *Record) bool { return d.Dot.N <= r.Dot.N })
	}
	replaced, added := l.merge(r)
	if !added {
		return false
	}
	c.keep(r)
	for _, v := range replaced {
		c.drop(v)
	}
	c.touch(r.Key)
	c.turned(now, l, wasDead)
	if fresh && !l.dead() {
		c.unhold(now, l)
	}
	if l.dead() && l.last() <= c.horizon[r.Kind] && c.loading == nil {
		c.purge(l) // everybody else did long ago: this node was away, or came out of a backup
	}
	return true
}

// turned follows a life that was over and is no more, or the other way round.
func (c *core) turned(now time.Time, l *life, wasDead bool) {
	switch dead := l.dead(); {
	case dead == wasDead:
	case dead:
		c.ended(l, true)
	default:
		c.ended(l, false)
		c.unhold(now, l)
	}
}

// unhold merges the statuses that came before their life was there.
func (c *core) unhold(now time.Time, l *life) {
	for _, h := range c.held.take(l.uid) {
		c.merge(now, h)
	}
}

// ended tells the view that a life is over, or that a person's edit brought it back.
func (c *core) ended(l *life, dead bool) {
	if !dead {
		c.emit(effect{show: &shown{key: *l.key, back: []UID{l.uid}, only: true}})
		return
	}
	for p, r := range l.parts {
		if r != nil {
			c.drop(r)
			l.parts[p] = nil
		}
	}
	c.emit(effect{show: &shown{key: *l.key, dead: []UID{l.uid}, only: true}})
}

func (c *core) mergePart(l *life, r *Record) bool {
	if l == nil || l.dead() { // the edit that revives it is later than its status, and so comes after it
		c.held.add(r, c.limits.held)
		return false
	}
	old := l.parts[r.Part]
	if old != nil && !r.newer(old) {
		return false
	}
	l.parts[r.Part] = r
	c.keep(r)
	if old != nil {
		c.drop(old)
	}
	c.touch(r.Key)
	return true
}

func (c *core) keep(r *Record) {
	switch c.cfg.Class(r.Key) {
	case Durable:
		if c.loading != nil {
			return
		}
		c.set = c.set.with(r)
		c.emit(effect{persist: r})
	case Ephemeral:
		c.passing = c.passing.with(r)
	}
}

func (c *core) drop(r *Record) {
	switch c.cfg.Class(r.Key) {
	case Durable:
		c.set = c.set.without(r)
		c.emit(effect{forget: r})
	case Ephemeral:
		c.passing = c.passing.without(r)
	}
}

// postpone keeps a record from the future until it is due. The farthest goes first where there are too many. An event of next year is of
// no use to anybody.
func (c *core) postpone(now time.Time, r *Record) bool {
	if c.cfg.Class(r.Key) != Durable && r.Stamp > stampOf(now.Add(maxLead)) {
		return false
	}
	c.early = c.early.with(r)
	if n := c.early.size(); n > c.limits.early {
		c.early = c.early.without(c.early.at(n - 1))
	}
	return false
}

func (c *core) due(now time.Time) {
	for c.early.size() > 0 && !early(now, c.early.at(0).Stamp) {
		r := c.early.at(0)
		c.early = c.early.without(r)
		if !c.outdated(r) {
			c.merge(now, r)
		}
	}
}

// holding keeps statuses and observations that came before the intent that makes their life alive, the oldest arrivals leaving first.
type holding struct {
	byLife map[UID][]*Record
	order  []*Record
	bytes  int
}

func newHolding() holding { return holding{byLife: map[UID][]*Record{}} }

func (h *holding) add(r *Record, most int) {
	mine := h.byLife[r.UID]
	if i := slices.IndexFunc(mine, func(o *Record) bool { return o.Part == r.Part }); i >= 0 {
		if !r.newer(mine[i]) {
			return
		}
		h.remove(mine[i])
		mine = slices.Delete(slices.Clone(mine), i, i+1)
	}
	h.byLife[r.UID] = append(mine, r)
	h.order = append(h.order, r)
	h.bytes += r.size()
	for len(h.order) > most || h.bytes > maxHeldBytes {
		oldest := h.order[0]
		left := slices.DeleteFunc(slices.Clone(h.byLife[oldest.UID]), func(o *Record) bool { return o == oldest })
		if h.byLife[oldest.UID] = left; len(left) == 0 {
			delete(h.byLife, oldest.UID)
		}
		h.remove(oldest)
	}
}

func (h *holding) remove(r *Record) {
	if i := slices.Index(h.order, r); i >= 0 {
		h.order = slices.Delete(h.order, i, i+1)
		h.bytes -= r.size()
	}
}

func (h *holding) take(u UID) []*Record {
	out := h.byLife[u]
	delete(h.byLife, u)
	for _, r := range out {
		h.remove(r)
	}
	return out
}
