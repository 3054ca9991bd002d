package linux

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dump is everything of ours in a host's kernel as sorted text, with names in place of link numbers.
func (h *host) dump() string {
	h.t.Helper()
	names := map[int]string{0: "-"}
	links, err := h.nl.LinkList()
	must(h.t, err)
	var out []string
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		if a.Name == "lo" || a.Name == "uplink" {
			continue
		}
		out = append(out, fmt.Sprintf("link %s %s mtu %d up %v alias %q", a.Name, l.Type(), a.MTU, a.Flags&1 != 0, a.Alias))
		addrs, err := h.nl.AddrList(l, netlink.FAMILY_V4)
		must(h.t, err)
		for _, ad := range addrs {
			out = append(out, fmt.Sprintf("address %s on %s scope %d", ad.IPNet, a.Name, ad.Scope))
		}
	}
	routes, err := h.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProto}, netlink.RT_FILTER_PROTOCOL)
	must(h.t, err)
	for _, r := range routes {
		out = append(out, fmt.Sprintf("route %s type %d via %s dev %s src %s metric %d", r.Dst, r.Type, r.Gw, names[r.LinkIndex], r.Src, r.Priority))
	}
	for _, family := range []int{netlink.FAMILY_V4, unix.AF_BRIDGE} {
		neighs, err := h.nl.NeighList(0, family)
		must(h.t, err)
		for _, n := range neighs {
			if n.State&netlink.NUD_PERMANENT != 0 && n.IP != nil && names[n.LinkIndex] != "lo" {
				out = append(out, fmt.Sprintf("neighbour %d %s %s dev %s", family, n.IP, n.HardwareAddr, names[n.LinkIndex]))
			}
		}
	}
	out = append(out, h.dumpTable()...)
	slices.Sort(out)
	return strings.Join(out, "\n") + "\n"
}

func (h *host) dumpTable() []string {
	t := newTable(int(h.ns))
	defer t.close()
	f, _, err := t.read()
	must(h.t, err)
	var out []string
	for name, c := range f.chains {
		hook := ""
		if c.spec.Hooknum != nil {
			hook = fmt.Sprintf(" %s hook %d priority %d", c.spec.Type, *c.spec.Hooknum, *c.spec.Priority)
		}
		out = append(out, fmt.Sprintf("chain %s%s %v", name, hook, c.rules))
	}
	for name, elements := range f.sets {
		out = append(out, "set "+name)
		for k, v := range elements {
			if name == setEndpoints {
				v = decodeEndpoint(v).String()
			}
			out = append(out, fmt.Sprintf("element %s %s %s", name, hex.EncodeToString([]byte(k)), v))
		}
	}
	for _, s := range f.foreign {
		out = append(out, "foreign set "+s.Name)
	}
	return out
}
