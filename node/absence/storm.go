package absence

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/placement"
)

// together is how far apart the suspicions are of servers that were lost at one moment.
const together = 2 * time.Second

// Storm is a failure domain of which much was lost at once.
type Storm struct {
	Domain     string // "zone a" or "region b"
	Lost, Size int    // servers
	Waiting    []string
	Next       time.Time // when the next of them is given up
}

// giveUp gives every lost server whose turn it is up, and tells of the storms in which others wait. A server belongs to a zone
// and to a region and must have its turn in both. Who is only suspected counts for how much is lost: servers that die together
// are suspected together, but declared dead one by one, and half of them would be given up before anybody spoke of a storm.
func (l *ledger) giveUp(now time.Time) {
	l.storms = nil
	zone := func(m gossip.Member) string {
		if m.Zone == "" {
			return ""
		}
		return m.Region + "/" + m.Zone
	}
	region := func(m gossip.Member) string { return m.Region }
	zones, zonesNext := l.due(zone, now)
	regions, regionsNext := l.due(region, now)
	for _, m := range l.members {
		if a := l.away[m.ID]; a != nil && m.State == gossip.Failed {
			a.due = a.due || zones[m.ID] && regions[m.ID]
		}
	}
	l.tell("zone ", func(m gossip.Member) string { return m.Zone }, zone, zones, zonesNext)
	l.tell("region ", region, region, regions, regionsNext)
}

// due are the absent servers whose turn it is in their domains, and when the next has its.
func (l *ledger) due(domain func(gossip.Member) string, now time.Time) (map[gossip.ID]bool, time.Time) {
	var losses []placement.Loss
	sizes := map[string]int{}
	for _, m := range l.members {
		if a := l.away[m.ID]; a != nil {
			losses = append(losses, placement.Loss{Host: string(m.ID), Domain: domain(m), At: a.since})
		}
		if d := domain(m); d != "" && m.State != gossip.Left {
			sizes[d]++
		}
	}
	ids, next := l.brake.Due(simultaneous(losses), sizes, now)
	out := map[gossip.ID]bool{}
	for _, id := range ids {
		out[gossip.ID(id)] = true
	}
	return out, next
}

// tell adds the domains in which somebody waits.
func (l *ledger) tell(kind string, called, domain func(gossip.Member) string, due map[gossip.ID]bool, next time.Time) {
	byDomain := map[string]*Storm{}
	for _, m := range l.members {
		d := domain(m)
		if d == "" || m.State == gossip.Left {
			continue
		}
		if byDomain[d] == nil {
			byDomain[d] = &Storm{Domain: kind + called(m), Next: next}
		}
		s := byDomain[d]
		s.Size++
		if a := l.away[m.ID]; a != nil {
			s.Lost++
			if m.State == gossip.Failed && !a.due && !due[m.ID] {
				s.Waiting = append(s.Waiting, m.Name)
			}
		}
	}
	for _, d := range slices.Sorted(maps.Keys(byDomain)) {
		if s := byDomain[d]; len(s.Waiting) > 0 {
			slices.Sort(s.Waiting)
			l.storms = append(l.storms, *s)
		}
	}
}

// simultaneous makes one moment of losses that are close together. Everybody suspects them in another order, but all homes are to
// give up the same ones first.
func simultaneous(losses []placement.Loss) []placement.Loss {
	slices.SortFunc(losses, func(a, b placement.Loss) int { return cmp.Or(cmp.Compare(a.Domain, b.Domain), a.At.Compare(b.At)) })
	first := 0
	for i := range losses {
		if losses[i].Domain != losses[first].Domain || losses[i].At.Sub(losses[first].At) >= together {
			first = i
		}
		losses[i].At = losses[first].At
	}
	return losses
}

// held tells whether a lost server's turn to be given up has not come.
func (l *ledger) held(name string) bool {
	for _, s := range l.storms {
		if slices.Contains(s.Waiting, name) {
			return true
		}
	}
	return false
}

// saw tells whether these are the members last seen: the mesh paints them anew whenever anything changes.
func (l *ledger) saw(members []gossip.Member) bool {
	return len(members) > 0 && len(members) == len(l.members) && &members[0] == &l.members[0]
}

// overdue tells that somebody's turn has come since the ledger last saw the members.
func (l *ledger) overdue(now time.Time) bool {
	return slices.ContainsFunc(l.storms, func(s Storm) bool { return !now.Before(s.Next) })
}

// Held tells whether the pods of a lost server, by its name, are not to be replaced yet. It looks at the members itself: a
// storm must not be missed by who asks before Run was woken.
func (r *Record) Held(server string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, members := time.Now(), r.config.Members()
	if !r.ledger.saw(members) || r.ledger.overdue(now) {
		r.ledger.see(members, now, r.config.Doubt())
	}
	return r.ledger.held(server)
}

// Storms are the failure domains in which servers wait for their turn.
func (r *Record) Storms() []Storm {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ledger.storms)
}
