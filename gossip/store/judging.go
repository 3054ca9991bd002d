package store

import (
	"errors"
	"time"
)

var errNotMine = errors.New("not a record that this home serialises (is the author's clock ahead?)")

// judge is the home's part of a write: accept it if and only if its author had seen every version that is alive here.
// Two nodes may think themselves home at once; then both accept, and the register's rules decide.
func (c *core) judge(now time.Time, ev event) {
	r := ev.judge[0]
	for _, t := range ev.relied {
		c.merge(now, t)
	}
	e := c.entry(r.Key)
	defer func() { c.tidy(e) }()
	if early(now, r.Stamp) || c.cfg.Class(r.Key) != Durable || r.Part != Intent {
		c.reveal() // the tombstones
		c.emit(effect{answer: &answer{id: ev.id, key: r.Key, err: errNotMine}})
		return
	}
	v := c.verdict(e, ev.judge)
	if v == accepted {
		var news []*Record
		for _, r := range ev.judge {
			if c.merge(now, r) {
				news = append(news, r)
			}
		}
		c.reveal()
		c.emit(effect{answer: &answer{id: ev.id, key: r.Key}})
		c.publish(news)
		return
	}
	c.reveal()
	c.emit(effect{answer: &answer{id: ev.id, key: r.Key, verdict: v, current: e.current()}})
}

func (c *core) verdict(e *entry, recs []*Record) verdict {
	r := recs[0]
	living := e.living()
	l := e.life(r.UID)
	switch {
	case l != nil && l.dead(), c.forgotten(r):
		return gone
	case l == nil && len(r.context) == 0 && len(living) > 0:
		return exists
	}
	for _, l := range living {
		if !c.seen(l, recs) {
			if len(r.context) == 0 {
				return exists
			}
			return conflict
		}
	}
	return accepted
}

// seen reports that the proposal knew all of a living life. Another life with a person's edit need not be known to a
// machine's write, which leaves it as it is.
func (c *core) seen(l *life, recs []*Record) bool {
	for _, r := range recs {
		if r.UID != l.uid {
			continue
		}
		for _, v := range l.versions {
			if v.hash != r.hash && r.context.of(v.Dot.Actor).seen < v.Dot.N {
				return false
			}
		}
		return true
	}
	return !recs[0].Human && l.alive().Basis != (Basis{}) && !l.alive().Claim
}

// current are the records that an author needs to see why it was refused.
func (e *entry) current() []*Record {
	var out []*Record
	n := 0
	for _, l := range e.lives {
		for _, v := range l.versions {
			if n += v.size(); n > maxCurrent {
				return out
			}
			out = append(out, v)
		}
	}
	return out
}
