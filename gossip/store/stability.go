package store

import (
	"slices"
	"time"
)

// A tombstone may be purged once every member holds it; a member says so by a stamp alone. Three facts travel with every
// reconciliation, and only with a complete one, so that whoever learns a fact holds the records that it is about:
//
//	vouched   everything that I wrote up to this stamp is on my disk, and I shall write nothing more that is as old
//	heard[a]  everything that a wrote up to this stamp is here: what a vouched, handed on
//	holds[m]  the least of m's heard, over all members: m holds everything up to this stamp
//
// (a matrix clock whose rows shrank to one number: Wuu and Bernstein, 1984). All three are rounded down to whole quanta, so
// that the hellos of idle replicas are equal most of the time. They are kept in memory: a node that starts learns them anew
// from its peers. A member that is away holds everything up; evicting it, which takes it out of Config.Members, lets go.
const quantum = 10 * time.Minute

func floor(now time.Time) Stamp { return stampOf(now.Truncate(quantum)) }

// vouch promises that whatever this node writes from now on is later than the last whole quantum. The promise goes out
// with the next hello, after the clock's new mark is on disk.
func (c *core) vouch(now time.Time) {
	at := floor(now)
	if at <= c.heard[c.self] || c.cfg.Fit != nil && c.cfg.Fit() != nil {
		return
	}
	for _, p := range c.pending { // the least of them, in whatever order
		for _, r := range p.recs {
			at = min(at, r.Stamp-1)
		}
	}
	if at < floor(now) {
		return // a write waits for its home: at the next tick
	}
	c.clock.observe(at)
	c.heard[c.self] = at
	c.weigh()
	c.emit(effect{vouched: true})
}

// weigh computes what this node holds, from what it heard of every member.
func (c *core) weigh() {
	if c.cfg.Members == nil {
		return
	}
	least := ^Stamp(0)
	for _, m := range c.cfg.Members() {
		least = min(least, c.heard[m])
	}
	if least != ^Stamp(0) && least > c.holds[c.self] {
		c.holds[c.self] = least
	}
}

// everywhere reports that every member that was not evicted holds all records up to s.
func (c *core) everywhere(s Stamp) bool {
	if c.cfg.Members == nil {
		return false
	}
	s += Stamp(quantum.Milliseconds()) << 16 // what was under way to its home when its author vouched
	members := c.cfg.Members()
	for _, m := range members {
		if c.holds[m] < s {
			return false
		}
	}
	return len(members) > 0
}

// member reports that an actor was not evicted, as far as this node is told.
func (c *core) member(actor string) bool {
	return c.cfg.Members == nil || slices.Contains(c.cfg.Members(), actor)
}

type lifeName struct {
	key Key
	uid UID
}

// meeting is what a complete reconciliation proved.
type meeting struct {
	peer  hello
	alien []lifeName // lives from before the peer's horizon of which the peer held no record: it had purged them
}

// meeting is nil where the peer had nothing to tell. It scans the set only where something old was sent.
func (p *session) meeting() *meeting {
	if p.peer == nil {
		return nil
	}
	m := &meeting{peer: *p.peer}
	if len(p.sent) == 0 {
		return m
	}
	left := make(map[lifeName]int, len(p.sent))
	order := []lifeName{}
	p.set.all(func(r *Record) bool {
		if u := (lifeName{r.Key, r.UID}); p.sent[u] > 0 {
			if left[u] == 0 {
				order = append(order, u)
			}
			left[u]++
		}
		return true
	})
	for _, u := range order {
		if left[u] == p.sent[u] && p.got[u] == 0 {
			m.alien = append(m.alien, u)
		}
	}
	return m
}

// meet takes in what a complete reconciliation proved: this node holds what the peer held.
func (c *core) meet(now time.Time, m *meeting) {
	c.adopt(now, m.peer.horizons)
	c.forgetful = c.forgetful && m.peer.forgetful || slices.ContainsFunc(m.peer.horizons, func(h horizonOf) bool { return h.at > c.horizon[h.kind] }) // not yet
	c.quarantine(m)
	c.reveal()
	due := stampOf(now)
	learned := false
	for _, h := range m.peer.heard {
		if h.actor != c.self && min(h.at, due) > c.heard[h.actor] {
			c.heard[h.actor], learned = min(h.at, due), true // what is later may be held back here as too early
		}
	}
	for _, h := range m.peer.holds {
		if h.actor != c.self && min(h.at, due) > c.holds[h.actor] {
			c.holds[h.actor], learned = min(h.at, due), true
		}
	}
	if learned {
		c.weigh()
		c.emit(effect{learned: true})
	}
}

// quarantine moves lives to lost-and-found that this node took out of an old backup, or wrote while it was evicted: the peer
// had everything from before its horizon, and these it does not have, so it saw them die.
func (c *core) quarantine(m *meeting) {
	for _, name := range m.alien {
		l := c.life(name.key, name.uid)
		if l == nil || l.born() > c.horizon[l.key.Kind] {
			continue
		}
		for _, v := range l.versions {
			if v.Op == Put {
				c.emit(effect{lose: v})
			}
		}
		c.end(l)
		c.touch(*l.key)
		c.emit(effect{show: &shown{key: *l.key, dead: []UID{l.uid}, purged: []UID{l.uid}, only: true}})
	}
}
