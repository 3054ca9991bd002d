package placement

import (
	"math/bits"
	"slices"
)

// candidate is a host that can take the pod.
type candidate struct {
	host     int32
	distance uint64 // rendezvous: nearest first
	liking   int64  // preferences, unscaled: most first
	score    int64
}

const mostCandidates = 64

func (o *Options) candidates() int {
	switch {
	case o.Candidates <= 0:
		return 8
	case o.Candidates > mostCandidates:
		return mostCandidates
	}
	return o.Candidates
}

// nearer orders by distance; IDs break ties alike everywhere.
func (w *world) nearer(a, b *candidate) bool {
	return a.distance < b.distance || a.distance == b.distance && w.id[a.host] < w.id[b.host]
}

// put keeps the best n candidates, sorted by liking first when liked.
func (w *world) put(list []candidate, c candidate, liked bool) []candidate {
	n := w.want
	switch {
	case len(list) < n:
		list = append(list, c)
	case !w.before(&c, &list[n-1], liked):
		return list
	}
	i := len(list) - 1
	for ; i > 0 && w.before(&c, &list[i-1], liked); i-- {
		list[i] = list[i-1]
	}
	list[i] = c
	return list
}

func (w *world) before(a, b *candidate, liked bool) bool {
	if liked && a.liking != b.liking {
		return a.liking > b.liking
	}
	return w.nearer(a, b)
}

// chooser finds the candidates of one pod after the other in buffers of its own.
type chooser struct {
	near, liked []candidate
	found       []drawn
	values      []int64
	taste       taste
}

// candidates returns the feasible hosts that are nearest to the pod and, when the pod prefers some hosts to others, also
// those that it likes best; none when no host is feasible. Those are without the hosts that are a last resort, or (desperate)
// of them alone. The result is valid until the next call.
func (w *world) candidates(s *shape, pod uint64) []candidate {
	lot := lotOf(pod)
	near := w.nearest(s, &lot)
	if len(near) < w.want || !w.picky(s) {
		return near
	}
	for _, x := range w.best(s, &lot) {
		if !contains(near[:w.want], x.host) {
			near = append(near, x)
		}
	}
	w.chooser.near = near
	return near
}

const farthest = ^uint64(0)

// nearest looks within twice the distance at which the last pod of the shape (or of the blend) found enough, then farther.
func (w *world) nearest(s *shape, l *lot) []candidate {
	if s.reach == 0 {
		s.reach = s.rates.reach
	}
	for {
		near, worst := w.chooser.near[:0], s.reach
		for _, d := range w.within(s, l, worst) {
			if x, is := w.consider(s, d, worst); is {
				if near = w.put(near, x, false); len(near) == w.want {
					worst = near[w.want-1].distance
				}
			}
		}
		w.chooser.near = near
		switch {
		case len(near) == w.want:
			s.reach = double(near[w.want-1].distance)
			s.rates.reach = s.reach
			return near
		case s.reach == farthest:
			return near
		}
		s.reach = farther(s.reach)
	}
}

func double(d uint64) uint64 { return d + min(d, farthest-d) }

func farther(d uint64) uint64 {
	if d > farthest/8 {
		return farthest
	}
	return 8*d + 1
}

// words is how many words hold a bit for every host.
func (w *world) words() int { return (len(w.id) + 63) / 64 }

// drawn is a host with its hash for the pod.
type drawn struct {
	hash uint64
	host int32
}

// within draws hosts that the pod may choose, all of those within a distance among them; valid until the next call.
func (w *world) within(s *shape, l *lot, distance uint64) []drawn {
	if distance < farthest && !s.static.pinned {
		return w.hashed(l, w.sieve.pass(l, s.static.bits.row(0)[:w.words()], s.rates, distance), s.rates.of, bound(distance))
	}
	found := w.chooser.found[:0]
	for _, h := range s.static.hosts {
		found = append(found, drawn{l.meet(w.key[h]), h})
	}
	w.chooser.found = found
	return found
}

// hashed gives hashes to the hosts of a row of bits, and leaves out those beyond a bound. It counts instead of branching,
// because nobody can foretell which stay.
func (w *world) hashed(l *lot, row []uint64, rates []uint64, bound uint64) []drawn {
	found := slices.Grow(w.chooser.found[:0], len(w.id)+1)
	w.chooser.found = found
	found, n := found[:len(w.id)+1], 0
	for i, word := range row {
		for ; word != 0; word &= word - 1 {
			h := i<<6 + bits.TrailingZeros64(word)
			hash, next := l.meet(w.key[h]), n
			found[n] = drawn{hash, int32(h)}
			if lowerBound(hash)*rates[h] <= bound {
				next++
			}
			n = next
		}
	}
	return found[:n]
}

// consider tells whether a host is within the distance and can take the pod.
func (w *world) consider(s *shape, d drawn, worst uint64) (x candidate, is bool) {
	h, rate := d.host, s.rates.of[d.host]
	if lowerBound(d.hash)*rate > bound(worst) || w.last[h] != w.desperate || !w.fits(s.spec, h) || s.ports != nil && !w.open(s.spec, h) {
		return x, false
	}
	x = candidate{host: h, distance: w.logs.negLog2(d.hash) >> 4 * rate * w.blemish(s, h)}
	return x, x.distance <= worst && w.refusesTopology(s, h) == fine
}

// best returns the feasible hosts that the pod likes best, nearest first among equals. It tries those that are liked more
// than the last ones that the last pod of the shape got, and of those that are liked as much the near ones.
func (w *world) best(s *shape, l *lot) []candidate {
	if s.static.pinned {
		return w.bestOf(s, l)
	}
	t := w.taste(s)
	for {
		row := w.sieve.pass(l, t.at, s.rates, t.edge)
		for i := range row {
			row[i] |= t.above[i]
		}
		liked := w.chooser.liked[:0]
		for _, d := range w.hashed(l, row, s.rates.of, farthest) {
			like, worst := t.like[d.host], farthest
			if like == t.least {
				worst = t.edge
			}
			if len(liked) == w.want {
				switch last := &liked[w.want-1]; {
				case like < last.liking:
					continue
				case like == last.liking:
					worst = last.distance
				}
			}
			if x, is := w.consider(s, d, worst); is {
				x.liking = like
				liked = w.put(liked, x, true)
			}
		}
		w.chooser.liked = liked
		switch {
		case len(liked) == w.want:
			last := &liked[w.want-1]
			if last.liking > t.least {
				t.least = last.liking
				t.split(s, w.words())
			}
			t.edge = double(last.distance)
			return liked
		case t.edge < farthest:
			t.edge = farther(t.edge)
		case !t.lower(s, w.words()):
			return liked
		}
	}
}

// bestOf asks each of the few hosts that the pod's volumes or fields name.
func (w *world) bestOf(s *shape, l *lot) []candidate {
	liked := w.chooser.liked[:0]
	for _, d := range w.within(s, l, farthest) {
		if x, is := w.consider(s, d, farthest); is {
			x.liking = w.liking(s, d.host)
			liked = w.put(liked, x, true)
		}
	}
	w.chooser.liked = liked
	return liked
}

func contains(cs []candidate, host int32) bool {
	for i := range cs {
		if cs[i].host == host {
			return true
		}
	}
	return false
}

// blemish makes host h farther for every soft taint that the shape does not tolerate.
func (w *world) blemish(s *shape, h int32) uint64 {
	if !s.static.picky {
		return 1
	}
	return 1 << (3 * min(s.static.soft[w.taints[h]], 2))
}

// picky says whether hosts differ for the shape in more than what is free on them and their taints.
func (w *world) picky(s *shape) bool { return s.likes != nil || s.soft != nil || w.drawn(s) }

// drawn says whether there are pods that it wants near or apart, or that want it so.
func (w *world) drawn(s *shape) bool {
	if s.near != nil {
		return true
	}
	w.feel(s)
	return len(s.pull) > 0
}

// likings sums preferences of all hosts in their own units, to find hosts worth scoring: an untolerated soft taint
// weighs as much as the strongest preference, and so does every pod by which a soft spread would exceed its skew.
func (w *world) likings(t *taste, s *shape) {
	like := slices.Grow(t.like[:0], len(w.id))[:len(w.id)]
	clear(like)
	t.like = like
	if s.likes != nil {
		for h, n := range s.likes.sum[:len(like)] {
			like[h] = int64(n)
		}
	}
	if s.static.picky {
		for h, t := range w.taints[:len(like)] {
			like[h] -= 100 * int64(s.static.soft[t])
		}
	}
	for i := range s.soft {
		for _, h := range s.static.hosts {
			like[h] -= 100 * s.soft[i].crowding(h)
		}
	}
	for i := range s.near {
		g, weight := s.near[i].group, s.near[i].weight
		for h, d := range g.topology.domain[:len(like)] {
			if d >= 0 {
				like[h] += weight * int64(g.chosen[d])
			}
		}
	}
	w.feel(s)
	for _, g := range s.pull {
		for h, d := range g.topology.domain[:len(like)] {
			if d >= 0 {
				like[h] += g.pull[d]
			}
		}
	}
}

// liking is the same for one host.
func (w *world) liking(s *shape, h int32) int64 {
	like := w.affection(s, h) - 100*s.crowding(h)
	if s.likes != nil {
		like += int64(s.likes.sum[h])
	}
	if s.static.picky {
		like -= 100 * int64(s.static.soft[w.taints[h]])
	}
	return like
}

// affection is the pull of pods: those that this one wants near (or not), and those that want it near.
func (w *world) affection(s *shape, h int32) (sum int64) {
	for i := range s.near {
		g := s.near[i].group
		if d := g.topology.domain[h]; d >= 0 {
			sum += s.near[i].weight * int64(g.chosen[d])
		}
	}
	w.feel(s)
	for _, g := range s.pull {
		if d := g.topology.domain[h]; d >= 0 {
			sum += g.pull[d]
		}
	}
	return sum
}

// crowding is by how many pods host h's domains exceed the emptiest one, beyond the skew that soft spreads allow.
func (s *shape) crowding(h int32) (sum int64) {
	for i := range s.soft {
		sum += s.soft[i].crowding(h)
	}
	return sum
}

func (c *constraint) crowding(h int32) int64 {
	d := c.ledger.topology.domain[h]
	if d < 0 {
		return 1 + c.ledger.domains
	}
	return max(int64(c.ledger.counts[d])-c.ledger.floor(c.minDomains)+1-c.maxSkew, 0)
}
