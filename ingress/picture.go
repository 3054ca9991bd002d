package ingress

import (
	"net/netip"
	"time"
)

// picture is a Table made live: its backends as pools of endpoints, its routes with their counters. It is swapped whole.
type picture struct {
	table    *Table
	pools    []*pool
	counts   []*counts     // by route
	replaced chan struct{} // closed when another picture is shown
}

// paint makes the picture of a table, keeping the endpoints and counters that the old one has too, and returns the endpoints that the
// new one lacks.
func paint(t *Table, old *picture, now time.Time, fresh func(netip.AddrPort) *endpoint) (p *picture, withdrawn []*endpoint) {
	had := map[netip.AddrPort]*endpoint{}
	counted := map[ruleKey]*counts{}
	if old != nil {
		for _, pl := range old.pools {
			for _, e := range pl.endpoints {
				had[e.addr] = e
			}
		}
		for i, r := range old.table.routes {
			counted[r.key()] = old.counts[i]
		}
	}
	has := map[netip.AddrPort]*endpoint{}
	p = &picture{table: t, replaced: make(chan struct{})}
	for _, b := range t.backends {
		pl := &pool{name: b.Name, missing: b.Missing}
		for _, addr := range b.Endpoints {
			e := has[addr]
			if e == nil {
				if e = had[addr]; e == nil {
					e = fresh(addr)
				}
				has[addr] = e
			}
			pl.endpoints = append(pl.endpoints, e)
		}
		if len(pl.endpoints) == 0 && old != nil {
			pl.emptied = old.emptied(b.Name, now)
		}
		p.pools = append(p.pools, pl)
	}
	for _, r := range t.routes {
		c := counted[r.key()]
		if c == nil {
			c = &counts{}
		}
		p.counts = append(p.counts, c)
	}
	for addr, e := range had {
		if has[addr] == nil {
			withdrawn = append(withdrawn, e)
		}
	}
	return p, withdrawn
}

// emptied says since when a backend that has no endpoints now has had none, given that p is what was shown before.
func (p *picture) emptied(name string, now time.Time) time.Time {
	switch pl := p.pool(name); {
	case pl == nil:
		return time.Time{}
	case len(pl.endpoints) > 0:
		return now
	default:
		return pl.emptied
	}
}

// pool returns the endpoints of the backend of that name now: a retry must not go by a table that was swapped meanwhile.
func (p *picture) pool(name string) *pool {
	if i, ok := p.table.named[name]; ok {
		return p.pools[i]
	}
	return nil
}
