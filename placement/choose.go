package placement

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
	liking      []int64 // by host
}

// candidates returns the feasible hosts that are nearest to the pod and, when the pod prefers some hosts to others, also
// those that it likes best; none when no host is feasible. The result is valid until the next call.
//
// Most hosts are passed over by a bound of their distance that takes one multiplication more than the hash, before
// anything else of them is read. The distance within which the last pod of the shape found its candidates, doubled, is
// tried first; only when there are too few all are looked at.
func (w *world) candidates(s *shape, pod uint64) []candidate {
	if s.picky() {
		return w.likedCandidates(s, pod)
	}
	near := w.within(s, pod, s.reach)
	if len(near) < w.want && s.reach != farthest {
		near = w.within(s, pod, farthest)
	}
	s.reach = farthest
	if len(near) == w.want && near[w.want-1].distance < farthest/2 {
		s.reach = 2 * near[w.want-1].distance
	}
	return near
}

const farthest = ^uint64(0)

func (w *world) within(s *shape, pod, worst uint64) []candidate {
	near, n := w.chooser.near[:0], w.want
	social, key, rates := s.social(), w.key, s.rates.of[:len(w.key)]
	for _, h := range s.static.hosts {
		hash, rate := meet(pod, key[h]), rates[h]
		if lowerBound(hash)*rate > worst || !w.fits(s.spec, h) || s.ports != nil && !w.open(s.spec, h) {
			continue
		}
		x := candidate{host: h, distance: w.logs.negLog2(hash) >> 4 * rate * w.blemish(s, h)}
		if x.distance > worst || social && w.refusesTopology(s, h) != fine {
			continue
		}
		near = w.put(near, x, false)
		if len(near) == n {
			worst = near[n-1].distance
		}
	}
	w.chooser.near = near
	return near
}

func (w *world) likedCandidates(s *shape, pod uint64) []candidate {
	c, n := &w.chooser, w.want
	near, liked, like := c.near[:0], c.liked[:0], w.likings(s)
	social, key, rates := s.social(), w.key, s.rates.of[:len(w.key)]
	worst, least, edge := farthest, int64(-1<<63), farthest // edge: the distance of the last one among those liked least
	for _, h := range s.static.hosts {
		hash, rate := meet(pod, key[h]), rates[h]
		if bound := lowerBound(hash) * rate; bound > worst && (like[h] < least || like[h] == least && bound > edge) {
			continue
		}
		if !w.fits(s.spec, h) || s.ports != nil && !w.open(s.spec, h) {
			continue
		}
		x := candidate{host: h, distance: w.logs.negLog2(hash) >> 4 * rate * w.blemish(s, h), liking: like[h]}
		if x.distance > worst && (len(liked) == n && !w.before(&x, &liked[n-1], true)) || social && w.refusesTopology(s, h) != fine {
			continue
		}
		near, liked = w.put(near, x, false), w.put(liked, x, true)
		if len(near) == n {
			worst, least, edge = near[n-1].distance, liked[n-1].liking, liked[n-1].distance
		}
	}
	both := near
	for _, x := range liked {
		if !contains(near, x.host) {
			both = append(both, x)
		}
	}
	c.near, c.liked = both, liked
	return both
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

// social tells whether other pods can make a host impossible for the shape.
func (s *shape) social() bool {
	if len(s.hard)+len(s.with)+len(s.apart) > 0 {
		return true
	}
	for _, sel := range s.kind.selectors {
		for _, g := range sel.groups {
			if g.repels > 0 {
				return true
			}
		}
	}
	return false
}

// picky says whether hosts differ for the shape in more than what is free on them and their taints.
func (s *shape) picky() bool { return s.likes != nil || s.soft != nil || s.drawn() }

// drawn says whether there are pods that it wants near or apart, or that want it so.
func (s *shape) drawn() bool {
	if s.near != nil {
		return true
	}
	for _, sel := range s.kind.selectors {
		for _, g := range sel.groups {
			if g.pulls > 0 {
				return true
			}
		}
	}
	return false
}

// likings sums preferences of all hosts in their own units, to find hosts worth scoring: an untolerated soft taint
// weighs as much as the strongest preference, and so does every pod by which a soft spread would exceed its skew.
func (w *world) likings(s *shape) []int64 {
	like := w.chooser.liking
	for len(like) < len(w.id) {
		like = append(like, 0)
	}
	w.chooser.liking = like
	clear(like)
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
	for _, sel := range s.kind.selectors {
		for _, g := range sel.groups {
			if g.pulls == 0 {
				continue
			}
			for h, d := range g.topology.domain[:len(like)] {
				if d >= 0 {
					like[h] += g.pull[d]
				}
			}
		}
	}
	return like
}

// affection is the pull of pods: those that this one wants near (or not), and those that want it near.
func (s *shape) affection(h int32) (sum int64) {
	for i := range s.near {
		g := s.near[i].group
		if d := g.topology.domain[h]; d >= 0 {
			sum += s.near[i].weight * int64(g.chosen[d])
		}
	}
	for _, sel := range s.kind.selectors {
		for _, g := range sel.groups {
			if g.pulls == 0 {
				continue
			}
			if d := g.topology.domain[h]; d >= 0 {
				sum += g.pull[d]
			}
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
