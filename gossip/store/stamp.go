package store

import (
	"cmp"
	"time"
)

// Stamp is a hybrid logical clock reading (Kulkarni et al., "Logical Physical Clocks", 2014): milliseconds since 1970 in
// the upper 48 bits, a counter in the lower 16. It respects causality and stays near wall time.
type Stamp uint64

func stampOf(t time.Time) Stamp {
	return Stamp(max(t.UnixMilli(), 0)) << 16
}

// Milliseconds since 1970.
func (s Stamp) Milliseconds() int64 { return int64(s >> 16) }

// Time is the wall part of the stamp.
func (s Stamp) Time() time.Time { return time.UnixMilli(s.Milliseconds()) }

// hybrid is this node's clock. It never falls, also across restarts.
type hybrid struct{ last Stamp }

// next issues a stamp greater than all that were issued or observed, and greater than after.
func (h *hybrid) next(now time.Time, after Stamp) Stamp {
	h.last = max(h.last+1, after+1, stampOf(now))
	return h.last
}

// observe takes a peer's stamp in. The caller holds back what is more than maxSkew ahead, so that a peer's broken clock
// cannot drag ours along.
func (h *hybrid) observe(s Stamp) { h.last = max(h.last, s) }

// early reports that s is too far ahead of the wall clock to be merged yet.
func early(now time.Time, s Stamp) bool { return s > stampOf(now.Add(maxSkew)) }

// Dot names one record for ever: its author and the author's counter.
type Dot struct {
	Actor string
	N     uint64
}

func (d Dot) compare(o Dot) int {
	return cmp.Or(cmp.Compare(d.Actor, o.Actor), cmp.Compare(d.N, o.N))
}
