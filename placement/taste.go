package placement

import (
	"math"
	"math/bits"
)

// taste is how much pods of one shape like every host. It is kept while pods of the shape are decided one after the other,
// because what one of them changes concerns few hosts.
type taste struct {
	shape   *shape
	plan    int
	like    []int64 // by host
	watches []watch
	least   int64    // how much the last pod liked the last of its candidates
	edge    uint64   // a distance within which enough of those are; like least a guess that no choice depends on
	above   []uint64 // hosts that the shape may choose and likes more than least
	at      []uint64 // and as much as least
}

// trail tells what a count by domain has been through.
type trail struct {
	version int   // changes
	since   int   // the changes from this one on
	domain  int32 // were in this domain; −1: in any
}

func (t *trail) step(domain int32) {
	if domain != t.domain || domain < 0 {
		t.domain, t.since = domain, t.version
	}
	t.version++
}

// watch is a trail as far as a taste has followed it.
type watch struct {
	trail    *trail
	topology *topology
	seen     int
}

// taste brings what is kept up to date for a shape.
func (w *world) taste(s *shape) *taste {
	t := &w.chooser.taste
	if t.shape != s || t.plan != w.plan {
		w.learn(t, s)
		return t
	}
	for i := range t.watches {
		switch x := &t.watches[i]; {
		case x.seen == x.trail.version:
		case x.seen < x.trail.since || x.trail.domain < 0:
			w.learn(t, s)
			return t
		default:
			for _, h := range x.topology.in[x.trail.domain] {
				t.set(h, w.liking(s, h))
			}
			x.seen = x.trail.version
		}
	}
	return t
}

// learn asks for every host anew.
func (w *world) learn(t *taste, s *shape) {
	fresh := t.shape != s || t.plan != w.plan
	t.shape, t.plan, t.watches = s, w.plan, t.watches[:0]
	for i := range s.soft {
		l := s.soft[i].ledger
		t.watches = append(t.watches, watch{&l.trail, l.topology, l.trail.version})
	}
	for i := range s.near {
		g := s.near[i].group
		t.watches = append(t.watches, watch{&g.came, g.topology, g.came.version})
	}
	for _, sel := range s.kind.selectors {
		for _, g := range sel.groups {
			t.watches = append(t.watches, watch{&g.drew, g.topology, g.drew.version})
		}
	}
	w.likings(t, s)
	if fresh {
		t.least = w.favourites(t, s)
	}
	t.split(s, w.words())
}

// favourites is how much the last of the wanted number of hosts is liked, whether they have room or not.
func (w *world) favourites(t *taste, s *shape) int64 {
	best := append(w.chooser.values[:0], math.MinInt64)
	for _, h := range s.static.hosts {
		v, n := t.like[h], len(best)
		if v <= best[n-1] && n == w.want {
			continue
		}
		if n < w.want {
			best = append(best, v)
		} else {
			n--
		}
		for ; n > 0 && best[n-1] < v; n-- {
			best[n] = best[n-1]
		}
		best[n] = v
	}
	w.chooser.values = best
	return best[len(best)-1]
}

// split sorts hosts by whether they are liked more than least or as much.
func (t *taste) split(s *shape, words int) {
	t.above, t.at = append(t.above[:0], s.static.bits.row(0)[:words]...), append(t.at[:0], s.static.bits.row(0)[:words]...)
	equal := uint64(1)
	for i := range words {
		above, at := uint64(0), uint64(0)
		for h, like := range t.like[i<<6 : min(i<<6+64, len(t.like))] {
			above |= bit(like > t.least) << h
			at |= bit(like == t.least) << h
		}
		t.above[i] &= above
		t.at[i] &= at
		equal += uint64(bits.OnesCount64(t.at[i]))
	}
	t.edge = farthest
	if r := s.reach / equal; r < farthest/uint64(len(s.static.hosts)+1) {
		t.edge = r * uint64(len(s.static.hosts)+1)
	}
}

// bit is 1 for true, without a branch that nobody can foretell.
func bit(is bool) uint64 {
	n := uint64(0)
	if is {
		n = 1
	}
	return n
}

// set notes what a host is liked now.
func (t *taste) set(h int32, like int64) {
	if t.like[h] == like {
		return
	}
	t.like[h] = like
	bit := uint64(1) << (h & 63)
	if t.shape.static.bits.row(0)[h>>6]&bit == 0 {
		return
	}
	t.above[h>>6] &^= bit
	t.at[h>>6] &^= bit
	if like > t.least {
		t.above[h>>6] |= bit
	} else if like == t.least {
		t.at[h>>6] |= bit
	}
}

// lower takes the next lower liking that occurs for least; false when there is none.
func (t *taste) lower(s *shape, words int) bool {
	next, found := int64(math.MinInt64), false
	for _, h := range s.static.hosts {
		if v := t.like[h]; v < t.least && v >= next {
			next, found = v, true
		}
	}
	if found {
		t.least = next
		t.split(s, words)
	}
	return found
}
