package placement

// topology divides hosts into domains by one label; domain −1: the host has no such label.
type topology struct {
	key     string
	domain  []int32
	domains int
}

func (w *world) topology(key string) *topology {
	if t := w.topologies[key]; t != nil {
		return t
	}
	t := &topology{key: key, domain: make([]int32, len(w.hosts))}
	seen := map[string]int32{}
	for h := range w.hosts {
		value, has := w.labels[h][key]
		if !has {
			t.domain[h] = -1
			continue
		}
		d, known := seen[value]
		if !known {
			d = int32(len(seen))
			seen[value] = d
		}
		t.domain[h] = d
	}
	t.domains = len(seen)
	w.topologies[key] = t
	return t
}

type groupKey struct {
	selector int32
	topology string
}

// group counts, per domain of a topology, the placed pods that a selector chooses, and those that want to be apart from
// or near to such pods. Every affinity term of every pod is a view of one group.
type group struct {
	topology *topology
	selector *selector
	chosen   []int32 // placed pods that the selector chooses
	apart    []int32 // placed pods that refuse to share the domain with such pods; nil: none yet
	pull     []int64 // summed preference weights of placed pods towards such pods; nil: none yet
	any      int32   // sum of chosen
	version  int     // rises with every change of chosen
}

func (w *world) group(s *selector, topologyKey string) *group {
	k := groupKey{s.id, topologyKey}
	g := w.groups[k]
	if g == nil {
		t := w.topology(topologyKey)
		g = &group{topology: t, selector: s, chosen: make([]int32, t.domains)}
		w.groups[k] = g
		s.groups = append(s.groups, g)
	}
	return g
}

// ledger counts for topology spread (KEP-895): placed pods that the selector chooses per domain, over eligible hosts
// only. Counts only rise while pods are placed, so the least count is kept with a histogram.
type ledger struct {
	topology *topology
	eligible []bool // by host
	exists   []bool // by domain: it has an eligible host
	counts   []int32
	with     []int32 // domains by their count
	least    int32
	domains  int64 // that exist
	version  int
}

func newLedger(t *topology, eligible []bool) *ledger {
	l := &ledger{topology: t, eligible: eligible, exists: make([]bool, t.domains), counts: make([]int32, t.domains)}
	for h, is := range eligible {
		if d := t.domain[h]; is && d >= 0 && !l.exists[d] {
			l.exists[d] = true
			l.domains++
		}
	}
	l.with = append(l.with, int32(l.domains))
	return l
}

func (l *ledger) add(h int32) {
	d := l.topology.domain[h]
	if d < 0 || !l.eligible[h] {
		return
	}
	l.version++
	c := l.counts[d]
	l.counts[d]++
	if int(c)+1 == len(l.with) {
		l.with = append(l.with, 0)
	}
	l.with[c]--
	l.with[c+1]++
	for l.with[l.least] == 0 {
		l.least++
	}
}

// floor is the least count that skew is measured from: 0 while there are fewer domains than wanted.
func (l *ledger) floor(minDomains int64) int64 {
	if l.domains < max(minDomains, 1) {
		return 0
	}
	return int64(l.least)
}

// owner counts the pods of one owner per host and per zone.
type owner struct {
	hosts map[int32]int32
	zones []int32
}

func (w *world) owner(name string) *owner {
	if name == "" {
		return nil
	}
	o := w.owners[name]
	if o == nil {
		o = &owner{hosts: map[int32]int32{}, zones: make([]int32, w.zones.domains)}
		w.owners[name] = o
	}
	return o
}

func (o *owner) add(w *world, h int32) {
	if o == nil {
		return
	}
	o.hosts[h]++
	if z := w.zones.domain[h]; z >= 0 {
		o.zones[z]++
	}
}

// count books a pod of the shape on host h in all that counts it.
func (w *world) count(s *shape, h int32) {
	for _, g := range s.kind.groups {
		if d := g.topology.domain[h]; d >= 0 {
			g.chosen[d]++
			g.any++
			g.version++
		}
	}
	if !s.leaving {
		for _, l := range s.kind.ledgers {
			l.add(h)
		}
	}
	for _, g := range s.apart {
		if d := g.topology.domain[h]; d >= 0 {
			if g.apart == nil {
				g.apart = make([]int32, g.topology.domains)
			}
			g.apart[d]++
		}
	}
	for _, n := range s.near {
		if d := n.group.topology.domain[h]; d >= 0 {
			if n.group.pull == nil {
				n.group.pull = make([]int64, n.group.topology.domains)
			}
			n.group.pull[d] += n.weight
		}
	}
}

// refusesTopology says why spreading or pod affinity forbids host h, "" when they allow it.
func (w *world) refusesTopology(s *shape, h int32) string {
	if why := s.refusesSpread(h); why != "" {
		return why
	}
	if !s.company(h) {
		return reasonNear
	}
	for _, g := range s.apart {
		if d := g.topology.domain[h]; d >= 0 && g.chosen[d] > 0 {
			return reasonApart
		}
	}
	for _, g := range s.kind.groups {
		if d := g.topology.domain[h]; d >= 0 && g.apart != nil && g.apart[d] > 0 {
			return reasonExisting
		}
	}
	return ""
}

func (s *shape) refusesSpread(h int32) string {
	for i := range s.hard {
		if s.hard[i].ledger.topology.domain[h] < 0 {
			return reasonSpread + missingLabel
		}
	}
	for i := range s.hard {
		c := &s.hard[i]
		skew := int64(c.ledger.counts[c.ledger.topology.domain[h]]) - c.ledger.floor(c.minDomains)
		if s.kind.has(c.selector) {
			skew++
		}
		if skew > c.maxSkew {
			return reasonSpread
		}
	}
	return ""
}

// company judges required pod affinity. The first pod of a series that wants to be near its own kind is let in anywhere.
func (s *shape) company(h int32) bool {
	together, any := true, false
	for _, g := range s.with {
		d := g.topology.domain[h]
		if d < 0 {
			return false
		}
		together = together && g.chosen[d] > 0
		any = any || g.any > 0
	}
	return together || !any && s.kind.has(s.with[0].selector)
}
