package placement

// counted books a pod of the shape on host h in all that counts it, n = 1, or takes it out again, n = −1.
func (w *world) counted(s *shape, h int32, leaving bool, n int32) {
	for _, sel := range s.kind.selectors {
		for _, g := range sel.groups {
			if d := g.topology.domain[h]; d >= 0 {
				g.came.step(d)
				g.chosen[d] += n
				g.any += n
				if n > 0 {
					g.version++
				}
			}
		}
		if leaving {
			continue
		}
		for _, l := range sel.ledgers {
			l.add(h, n)
		}
	}
	for _, g := range s.apart {
		if d := g.topology.domain[h]; d >= 0 {
			if g.apart == nil {
				g.apart = make([]int32, g.topology.domains)
			}
			g.apart[d] += n
			w.turn(&g.repels, n)
		}
	}
	for i := range s.near {
		g := s.near[i].group
		if d := g.topology.domain[h]; d >= 0 {
			if g.pull == nil {
				g.pull = make([]int64, g.topology.domains)
			}
			g.drew.step(d)
			g.pull[d] += int64(n) * s.near[i].weight
			w.turn(&g.pulls, n)
		}
	}
}

// turn counts pods that repel or pull, and notes when they are the first or the last.
func (w *world) turn(count *int32, n int32) {
	if *count == 0 || *count+n == 0 {
		w.mood++
	}
	*count += n
}

// feel finds the groups of the shape's own pods that repel or pull at present: of many that choose them few do.
func (w *world) feel(s *shape) {
	if s.mood == w.mood {
		return
	}
	s.mood, s.repel, s.pull = w.mood, s.repel[:0], s.pull[:0]
	for _, sel := range s.kind.selectors {
		for _, g := range sel.groups {
			if g.repels > 0 {
				s.repel = append(s.repel, g)
			}
			if g.pulls > 0 {
				s.pull = append(s.pull, g)
			}
		}
	}
}

// refusesTopology says why spreading or pod affinity forbids host h.
func (w *world) refusesTopology(s *shape, h int32) refusal {
	if why := s.refusesSpread(h); why != fine {
		return why
	}
	if len(s.with) > 0 && !s.company(h) {
		return noCompany
	}
	for _, g := range s.apart {
		if d := g.topology.domain[h]; d >= 0 && g.chosen[d] > 0 {
			return notApart
		}
	}
	w.feel(s)
	for _, g := range s.repel {
		if d := g.topology.domain[h]; d >= 0 && g.apart[d] > 0 {
			return keptApart
		}
	}
	return fine
}

func (s *shape) refusesSpread(h int32) refusal {
	for i := range s.hard {
		if s.hard[i].ledger.topology.domain[h] < 0 {
			return noSpreadLabel
		}
	}
	for i := range s.hard {
		if s.skew(i, h) > s.hard[i].maxSkew {
			return uneven
		}
	}
	return fine
}

// skew is by how much host h's domain would exceed the emptiest one, by the i-th hard constraint.
func (s *shape) skew(i int, h int32) int64 {
	c := &s.hard[i]
	skew := int64(c.ledger.counts[c.ledger.topology.domain[h]]) - c.ledger.floor(c.minDomains)
	if s.counts[i] {
		skew++
	}
	return skew
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
