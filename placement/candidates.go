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

// best keeps the first n candidates, sorted: by liking and distance, or by distance alone.
type best struct {
	list   []candidate
	n      int
	liking bool
}

func (b *best) takes(c *candidate) bool { return len(b.list) < b.n || b.before(c, &b.list[b.n-1]) }

func (b *best) put(c candidate) {
	if len(b.list) < b.n {
		b.list = append(b.list, c)
	}
	i := len(b.list) - 1
	for ; i > 0 && b.before(&c, &b.list[i-1]); i-- {
		b.list[i] = b.list[i-1]
	}
	b.list[i] = c
}

func (b *best) before(x, y *candidate) bool {
	if b.liking && x.liking != y.liking {
		return x.liking > y.liking
	}
	return nearer(x, y)
}

// nearer orders by distance; hosts are sorted by ID, so their index breaks ties alike everywhere.
func nearer(a, b *candidate) bool {
	return a.distance < b.distance || a.distance == b.distance && a.host < b.host
}

// chooser finds the candidates of one pod after the other in buffers of its own.
type chooser struct {
	w          *world
	near, like best
	all        []candidate
}

func newChooser(w *world) *chooser {
	n := w.opts.candidates()
	return &chooser{
		w:    w,
		near: best{make([]candidate, 0, n), n, false},
		like: best{make([]candidate, 0, n), n, true},
	}
}

// candidates returns the feasible hosts that are nearest to the pod and, when the pod prefers some hosts to others, also
// those that it likes best; none when no host is feasible. The result is valid until the next call.
func (c *chooser) candidates(s *shape, pod uint64) []candidate {
	w := c.w
	c.near.list, c.like.list = c.near.list[:0], c.like.list[:0]
	picky, blend := s.picky(), w.logs.blend(s.cpu, s.memory)
	for _, h := range s.static.hosts {
		x := candidate{host: h, distance: w.logs.distance(mix(pod^w.hash[h]), w.inverse[h], price(blend, w.blend[h]))}
		if !picky && !c.near.takes(&x) || !w.fits(s, h) || !w.open(s, h) || w.refusesTopology(s, h) != "" {
			continue
		}
		if c.near.takes(&x) {
			c.near.put(x)
		}
		if !picky {
			continue
		}
		if x.liking = w.liking(s, h); c.like.takes(&x) {
			c.like.put(x)
		}
	}
	c.all = append(c.all[:0], c.near.list...)
	for _, x := range c.like.list {
		if !contains(c.near.list, x.host) {
			c.all = append(c.all, x)
		}
	}
	return c.all
}

func contains(cs []candidate, host int32) bool {
	for i := range cs {
		if cs[i].host == host {
			return true
		}
	}
	return false
}

// picky says whether hosts differ for the shape in more than what is free on them.
func (s *shape) picky() bool {
	if s.likes != nil || s.near != nil || s.soft != nil || s.static.soft != nil {
		return true
	}
	for _, g := range s.kind.groups {
		if g.pull != nil {
			return true
		}
	}
	return false
}

// liking sums preferences in their own units, to find hosts worth scoring: an untolerated soft taint weighs as much as
// the strongest preference, and so does every pod by which a soft spread would exceed its skew.
func (w *world) liking(s *shape, h int32) int64 {
	sum := w.affection(s, h) - 100*(s.crowding(h)+s.blemishes(w, h))
	if s.likes != nil {
		sum += int64(s.likes[h])
	}
	return sum
}

// affection is the pull of pods: those that this one wants near (or not), and those that want it near.
func (w *world) affection(s *shape, h int32) (sum int64) {
	for _, n := range s.near {
		if d := n.group.topology.domain[h]; d >= 0 {
			sum += n.weight * int64(n.group.chosen[d])
		}
	}
	for _, g := range s.kind.groups {
		if d := g.topology.domain[h]; d >= 0 && g.pull != nil {
			sum += g.pull[d]
		}
	}
	return sum
}

// crowding is by how many pods host h's domains exceed the emptiest one, beyond the skew that soft spreads allow.
func (s *shape) crowding(h int32) (sum int64) {
	for i := range s.soft {
		c := &s.soft[i]
		d := c.ledger.topology.domain[h]
		if d < 0 {
			sum += 1 + c.ledger.domains
			continue
		}
		sum += max(int64(c.ledger.counts[d])-c.ledger.floor(c.minDomains)+1-c.maxSkew, 0)
	}
	return sum
}

func (s *shape) blemishes(w *world, h int32) int64 {
	if s.static.soft == nil {
		return 0
	}
	return int64(s.static.soft[w.taintSet[h]])
}
