package netmesh

import "net/netip"

// Change is a frontend that differs between two Programs. Old is nil when it is new, New when it is gone.
type Change struct{ Old, New *Frontend }

// Diff lists the frontends that differ, by one walk through both sorted lists. The pointers lead into the Programs.
func Diff(before, after Program) []Change {
	var out []Change
	i, j := 0, 0
	for i < len(before.Frontends) && j < len(after.Frontends) {
		a, b := &before.Frontends[i], &after.Frontends[j]
		switch c := a.Compare(b.FrontendKey); {
		case c < 0:
			out = append(out, Change{Old: a})
			i++
		case c > 0:
			out = append(out, Change{New: b})
			j++
		default:
			if !a.equal(*b) {
				out = append(out, Change{a, b})
			}
			i, j = i+1, j+1
		}
	}
	for ; i < len(before.Frontends); i++ {
		out = append(out, Change{Old: &before.Frontends[i]})
	}
	for ; j < len(after.Frontends); j++ {
		out = append(out, Change{New: &after.Frontends[j]})
	}
	return out
}

// Withdrawn is an endpoint that no longer serves an address: datagrams that a kernel still steers there by its memory of
// earlier ones must be forgotten.
type Withdrawn struct {
	Frontend FrontendKey
	Endpoint netip.AddrPort
}

// WithdrawnUDP lists what the changes took away from UDP frontends. TCP connections are left to end by themselves.
func WithdrawnUDP(changes []Change) []Withdrawn {
	var out []Withdrawn
	for _, c := range changes {
		if c.Old == nil || c.Old.Protocol != UDP {
			continue
		}
		stays := map[netip.AddrPort]bool{}
		if c.New != nil {
			for _, e := range c.New.Endpoints {
				stays[e] = true
			}
		}
		for _, e := range c.Old.Endpoints {
			if !stays[e] {
				out = append(out, Withdrawn{c.Old.FrontendKey, e})
			}
		}
	}
	return out
}
