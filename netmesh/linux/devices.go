package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// uplink is the link that carries the host's own address.
type uplink struct {
	index int
	mtu   int
	addr  netip.Addr
}

// findUplink looks the link up by the configured address; without one, by the default route.
func (p *Plane) findUplink() (uplink, error) {
	addrs, err := p.route.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return uplink{}, fmt.Errorf("list addresses: %w", err)
	}
	want, viaLink := p.cfg.Uplink, 0
	if !want.IsValid() {
		ways, err := p.route.RouteGet([]byte{1, 1, 1, 1}) // a lookup only: nothing is sent
		if err != nil || len(ways) == 0 || ways[0].Src == nil {
			return uplink{}, errors.New("this host has no default route: say by which of its addresses the others reach it")
		}
		want, _ = netip.AddrFromSlice(ways[0].Src.To4())
		viaLink = ways[0].LinkIndex
	}
	for _, a := range addrs {
		if got, _ := netip.AddrFromSlice(a.IP.To4()); got != want || viaLink != 0 && a.LinkIndex != viaLink {
			continue
		}
		l, err := p.route.LinkByIndex(a.LinkIndex)
		if err != nil {
			return uplink{}, fmt.Errorf("find the link of %s: %w", want, err)
		}
		return uplink{a.LinkIndex, l.Attrs().MTU, want}, nil
	}
	return uplink{}, fmt.Errorf("no link of this host has the address %s", want)
}

// podMTU is what fits into one packet wherever the pod's traffic may go.
func (p *Plane) podMTU() (int, error) {
	if p.cfg.MTU != 0 {
		return p.cfg.MTU, nil
	}
	up, err := p.findUplink()
	if err != nil {
		return 0, err
	}
	if p.cfg.Backend == HostGateway {
		return up.mtu, nil
	}
	return max(up.mtu-vxlanExtra, 576), nil
}

// hostDevice makes orpheus0: no packet ever leaves by it. It holds the name server's address and the host's own in the pod
// network; routes to it give local clients of services a source address that the whole mesh can answer.
func (p *Plane) hostDevice(own netip.Prefix) (int, error) {
	attrs := netlink.LinkAttrs{Name: hostLink, TxQLen: -1}
	either := func(l netlink.Link) bool { return l.Type() == "dummy" || l.Type() == "bridge" }
	l, err := p.ensureLink(&netlink.Dummy{LinkAttrs: attrs}, either)
	if errors.Is(err, unix.EOPNOTSUPP) { // a kernel without dummy devices: a bridge that nothing is plugged into will do
		l, err = p.ensureLink(&netlink.Bridge{LinkAttrs: attrs}, either)
	}
	if err != nil {
		return 0, err
	}
	err = onlyAddrs(p.route, l,
		&netlink.Addr{IPNet: host32(ServerAddr), Scope: int(netlink.SCOPE_LINK)}, // never chosen as a source for others
		&netlink.Addr{IPNet: host32(netmesh.Gateway(own))})
	return l.Attrs().Index, err
}

// tunnel makes the VXLAN device. It learns nothing: every peer is told to it.
func (p *Plane) tunnel(up uplink) (int, error) {
	mtu := p.cfg.MTU
	if mtu == 0 {
		mtu = max(up.mtu-vxlanExtra, 576)
	}
	want := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: vxlanLink, HardwareAddr: macOf(roleTunnel, up.addr), MTU: mtu, TxQLen: -1},
		VxlanId:   vxlanID, SrcAddr: up.addr.AsSlice(), VtepDevIndex: up.index, Port: vxlanPort, Learning: false,
	}
	l, err := p.ensureLink(want, func(have netlink.Link) bool {
		v, ok := have.(*netlink.Vxlan)
		return ok && v.VxlanId == vxlanID && v.Port == vxlanPort && !v.Learning && v.VtepDevIndex == up.index &&
			v.SrcAddr.Equal(want.SrcAddr) && v.Attrs().HardwareAddr.String() == want.HardwareAddr.String()
	})
	if err != nil {
		return 0, err
	}
	if l.Attrs().MTU != mtu {
		if err := p.route.LinkSetMTU(l, mtu); err != nil {
			return 0, fmt.Errorf("set MTU %d of %s: %w", mtu, vxlanLink, err)
		}
	}
	return l.Attrs().Index, nil
}

// ensureLink finds a device of ours by name, or makes it. One that can't be changed into what is wanted is made anew.
func (p *Plane) ensureLink(want netlink.Link, fits func(netlink.Link) bool) (netlink.Link, error) {
	name := want.Attrs().Name
	l, err := p.route.LinkByName(name)
	if err == nil && !fits(l) {
		if err := p.route.LinkDel(l); err != nil {
			return nil, fmt.Errorf("remove the outdated device %s: %w", name, err)
		}
		err = netlink.LinkNotFoundError{}
	}
	if err != nil {
		if err := p.route.LinkAdd(want); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make device %s: %w", name, err)
		}
		if l, err = p.route.LinkByName(name); err != nil {
			return nil, fmt.Errorf("find device %s: %w", name, err)
		}
		p.count.repairs.Add(1)
	}
	if alias := aliasMark + "host"; l.Attrs().Alias != alias {
		if err := p.route.LinkSetAlias(l, alias); err != nil {
			return nil, fmt.Errorf("mark device %s: %w", name, err)
		}
	}
	// loose: an answer may come by another way than the one that we would take
	if err := p.settings("ipv6/conf/"+name+"/disable_ipv6=1", "ipv4/conf/"+name+"/rp_filter=2"); err != nil {
		return nil, err
	}
	if l.Attrs().Flags&1 == 0 { // IFF_UP
		if err := p.route.LinkSetUp(l); err != nil {
			return nil, fmt.Errorf("set %s up: %w", name, err)
		}
	}
	return l, nil
}

// settings writes kernel parameters ("ipv4/ip_forward=1") of the host's namespace.
func (p *Plane) settings(all ...string) error {
	return inNamespace(p.ns, func() error {
		for _, s := range all {
			name, value, _ := strings.Cut(s, "=")
			if err := (setting{name, value}).write(); err != nil {
				return err
			}
		}
		return nil
	})
}
