package linux

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// ensureTunnelPeers tells the tunnel about every peer behind it: which hardware address its gateway has (neighbour), and
// which host that address is at (forwarding entry). Nothing is learned and nothing is flooded.
func (p *Plane) ensureTunnelPeers(vx int, peers []peer) error {
	want := map[string]*netlink.Neigh{}
	for _, q := range peers {
		if q.direct {
			continue
		}
		mac := macOf(roleTunnel, q.Addr)
		forward := &netlink.Neigh{LinkIndex: vx, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF, IP: q.Addr.AsSlice(), HardwareAddr: mac}
		neighbour := permanent(vx, netmesh.Gateway(q.PodCIDR), mac)
		want["forward "+neighKey(*forward)] = forward
		want["neighbour "+neighKey(*neighbour)] = neighbour
	}
	for kind, family := range map[string]int{"forward ": unix.AF_BRIDGE, "neighbour ": netlink.FAMILY_V4} {
		have, err := p.route.NeighList(vx, family)
		if err != nil {
			return fmt.Errorf("list the peers of %s: %w", vxlanLink, err)
		}
		for _, n := range have {
			if n.State&netlink.NUD_PERMANENT == 0 || n.LinkIndex != vx {
				continue
			}
			if _, ok := want[kind+neighKey(n)]; ok {
				delete(want, kind+neighKey(n))
				continue
			}
			if family == unix.AF_BRIDGE {
				n.Family, n.Flags = unix.AF_BRIDGE, netlink.NTF_SELF
			}
			if err := p.route.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove peer %s from %s: %w", n.IP, vxlanLink, err)
			}
		}
	}
	for _, n := range want {
		if err := p.route.NeighSet(n); err != nil {
			return fmt.Errorf("tell %s about %s: %w", vxlanLink, n.IP, err)
		}
		p.count.repairs.Add(1)
	}
	return nil
}
