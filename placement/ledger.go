package placement

// ledger counts for topology spread (KEP-895): placed pods that the selector chooses per domain, over eligible hosts
// only. The least count is kept with a histogram of the counts of the domains that have an eligible host.
type ledger struct {
	topology *topology
	eligible *eligible
	home     []int32 // by host: the domain in which it is a member, −1: none
	counts   []int32 // by domain
	members  []int32 // eligible hosts by domain
	with     []int32 // domains that have members, by their count
	least    int32
	domains  int64 // that have members
	version  int   // rises when counts rise
	watchers int   // pods that it must be even for
	trail    trail // of counts, and of the least in all domains
}

func (w *world) ledger(s *Spread, st *static, sel *selector, keys []string) *ledger {
	t, e := w.topology(s.Topology), w.eligible(s, st, keys)
	for _, l := range sel.ledgers {
		if l.topology == t && l.eligible == e {
			return l
		}
	}
	l := &ledger{topology: t, eligible: e, home: make([]int32, 0, len(w.id)), counts: make([]int32, t.domains), members: make([]int32, t.domains), with: []int32{0}}
	for h := range w.id {
		l.join(int32(h))
	}
	t.ledgers = append(t.ledgers, l)
	e.ledgers = append(e.ledgers, l)
	sel.ledgers = append(sel.ledgers, l)
	w.members(sel, func(h int32, leaving bool) {
		if !leaving {
			l.add(h, 1)
		}
	})
	return l
}

// join makes host h a member of its domain, when it is eligible.
func (l *ledger) join(h int32) {
	for int(h) >= len(l.home) {
		l.home = append(l.home, -1)
	}
	d := l.topology.domain[h]
	l.home[h] = -1
	if d < 0 || !l.eligible.hosts[h] {
		return
	}
	l.home[h] = d
	if l.members[d]++; l.members[d] == 1 {
		l.domains++
		l.with[l.counts[d]]++
		l.settle(l.counts[d])
	}
}

// leave undoes join for a host without pods.
func (l *ledger) leave(h int32) {
	if int(h) >= len(l.home) || l.home[h] < 0 {
		return
	}
	d := l.home[h]
	l.home[h] = -1
	if l.members[d]--; l.members[d] == 0 {
		l.domains--
		l.with[l.counts[d]]--
		l.settle(l.least)
	}
}

// add counts a pod more (or less) on host h.
func (l *ledger) add(h, n int32) {
	d := l.home[h]
	if d < 0 {
		return
	}
	c := l.counts[d]
	l.counts[d] += n
	if n > 0 {
		l.version++
	}
	for int(c+n) >= len(l.with) {
		l.with = append(l.with, 0)
	}
	l.with[c]--
	l.with[c+n]++
	least := l.least
	if l.settle(c + n); l.least != least {
		d = -1
	}
	l.trail.step(d)
}

// settle finds the least count again; count is one that has come.
func (l *ledger) settle(count int32) {
	l.least = min(l.least, count)
	if l.domains == 0 {
		l.least = 0
		return
	}
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
