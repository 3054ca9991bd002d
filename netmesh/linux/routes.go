package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// lastResort is the metric of routes that only answer for addresses which nobody has.
const lastResort = 1 << 30

// peer is another host with the way to it.
type peer struct {
	netmesh.Node
	direct bool // on one of our links: its packets need no tunnel
	link   int
}

// ensureRoutes makes devices, routes and neighbours as the Picture wants them and removes surplus ones of ours.
func (p *Plane) ensureRoutes(pic netmesh.Picture) error {
	if err := p.settings("ipv4/ip_forward=1"); err != nil {
		return err
	}
	up, err := p.findUplink()
	if err != nil {
		return err
	}
	host, err := p.hostDevice(pic.Self.PodCIDR)
	if err != nil {
		return err
	}
	peers := p.peers(pic)
	vx := 0
	if slices.ContainsFunc(peers, func(q peer) bool { return !q.direct }) || p.cfg.Backend == VXLAN {
		if vx, err = p.tunnel(up); err != nil {
			return err
		}
		if err := p.ensureTunnelPeers(vx, peers); err != nil {
			return err
		}
	} else if l, err := p.route.LinkByName(vxlanLink); err == nil {
		if err := p.route.LinkDel(l); err != nil {
			return fmt.Errorf("remove the unused device %s: %w", vxlanLink, err)
		}
	}
	routes := p.wantedRoutes(pic, peers, host, vx)
	return errors.Join(p.syncRoutes(routes), p.ensurePods())
}

// peers decides for each other host how to reach it: directly when the kernel finds it on a link without a gateway.
func (p *Plane) peers(pic netmesh.Picture) []peer {
	var out []peer
	var unreached []string
	holder := map[netip.Prefix]string{}
	for _, n := range pic.Nodes {
		if n.ID == pic.Self.ID || n.Gone || !n.PodCIDR.IsValid() || !n.Addr.Is4() || n.PodCIDR == pic.Self.PodCIDR {
			continue
		}
		if other, twice := holder[n.PodCIDR]; twice {
			unreached = append(unreached, fmt.Sprintf("nodes %s and %s both hold %s: its pods are looked for on the first", other, n.Name, n.PodCIDR))
			continue
		}
		holder[n.PodCIDR] = n.Name
		q := peer{Node: n}
		if p.cfg.Backend != VXLAN {
			ways, err := p.route.RouteGet(n.Addr.AsSlice())
			if err == nil && len(ways) == 1 && ways[0].Gw == nil && ways[0].Type == unix.RTN_UNICAST {
				q.direct, q.link = true, ways[0].LinkIndex
			}
		}
		if !q.direct && p.cfg.Backend == HostGateway {
			unreached = append(unreached, fmt.Sprintf("node %s (%s) is not on a link of this host: backend host-gw has no way to it, use auto", n.Name, n.Addr))
			continue
		}
		out = append(out, q)
	}
	p.warn(ofRoutes, unreached)
	return out
}

func (p *Plane) wantedRoutes(pic netmesh.Picture, peers []peer, host, vx int) []netlink.Route {
	self := net.IP(netmesh.Gateway(pic.Self.PodCIDR).AsSlice())
	out := []netlink.Route{
		{Dst: toNet(pic.ClusterCIDR), Type: unix.RTN_UNREACHABLE, Priority: lastResort},
		{Dst: toNet(pic.Self.PodCIDR), Type: unix.RTN_UNREACHABLE, Priority: lastResort},
		{Dst: toNet(pic.ServiceCIDR), Type: unix.RTN_UNICAST, LinkIndex: host, Src: self, Scope: netlink.SCOPE_LINK},
	}
	for _, q := range peers {
		r := netlink.Route{Dst: toNet(q.PodCIDR), Type: unix.RTN_UNICAST, Flags: int(netlink.FLAG_ONLINK)}
		if q.direct {
			r.LinkIndex, r.Gw = q.link, q.Addr.AsSlice()
		} else {
			r.LinkIndex, r.Gw, r.Src = vx, netmesh.Gateway(q.PodCIDR).AsSlice(), self
		}
		out = append(out, r)
	}
	for _, pod := range p.Attached() {
		if l, err := p.route.LinkByName(pod.Veth); err == nil {
			out = append(out, netlink.Route{Dst: host32(pod.Addr), Type: unix.RTN_UNICAST, LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK})
		}
	}
	return out
}

// syncRoutes makes the kernel's routes that bear our mark these, changing only what differs.
func (p *Plane) syncRoutes(want []netlink.Route) error {
	have, err := p.ourRoutes()
	if err != nil {
		return err
	}
	surplus := map[string]netlink.Route{}
	for _, r := range have {
		surplus[routeKey(r)] = r
	}
	var errs []error
	for _, r := range want {
		r.Protocol, r.Table = routeProto, unix.RT_TABLE_MAIN
		old, ok := surplus[routeKey(r)]
		delete(surplus, routeKey(r))
		switch {
		case !ok:
			err = p.route.RouteAdd(&r)
			p.count.repairs.Add(1)
		case !sameRoute(old, r):
			err = p.route.RouteReplace(&r)
			p.count.repairs.Add(1)
		default:
			continue
		}
		if errors.Is(err, unix.EEXIST) {
			err = errors.New("a route of somebody else is in its place: remove that")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", r.Dst, err))
		}
	}
	for _, r := range surplus {
		if p.stillPod(r) {
			continue // attached while we looked
		}
		if err := p.route.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

func (p *Plane) ourRoutes() ([]netlink.Route, error) {
	have, err := p.route.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProto, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return have, nil
}

// stillPod says whether a route leads to a pod that is being attached at this moment.
func (p *Plane) stillPod(r netlink.Route) bool {
	a, _ := netip.AddrFromSlice(r.Dst.IP.To4())
	ones, _ := r.Dst.Mask.Size()
	if ones != 32 || r.Scope != netlink.SCOPE_LINK {
		return false
	}
	l, err := p.route.LinkByIndex(r.LinkIndex)
	if err != nil {
		return false
	}
	pod, ok := decodeAlias(l.Attrs().Alias)
	return ok && pod.Addr == a
}

func routeKey(r netlink.Route) string { return fmt.Sprintf("%s metric %d", r.Dst, r.Priority) }

func sameRoute(have, want netlink.Route) bool {
	onlink := func(r netlink.Route) int { return r.Flags & int(netlink.FLAG_ONLINK) }
	if have.Type != want.Type {
		return false
	}
	if want.Type == unix.RTN_UNREACHABLE {
		return true
	}
	return have.LinkIndex == want.LinkIndex && have.Gw.Equal(want.Gw) && have.Src.Equal(want.Src) && onlink(have) == onlink(want) &&
		(want.Scope != netlink.SCOPE_LINK || have.Scope == want.Scope) && len(have.MultiPath) == 0
}

// ensurePods puts back what a pod needs on the host's side. The route is syncRoutes' matter.
func (p *Plane) ensurePods() error {
	known := map[string]bool{}
	neighs, err := p.route.NeighList(0, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range neighs {
		if n.State&netlink.NUD_PERMANENT != 0 {
			known[neighKey(n)] = true
		}
	}
	var errs []error
	for _, pod := range p.Attached() {
		l, err := p.route.LinkByName(pod.Veth)
		if err != nil {
			continue // the sandbox is gone; its pod will be detached
		}
		if l.Attrs().Flags&net.FlagUp == 0 {
			errs = append(errs, p.route.LinkSetUp(l))
			p.wakeUp() // its route went with it
		}
		if n := permanent(l.Attrs().Index, pod.Addr, macOf(rolePod, pod.Addr)); !known[neighKey(*n)] {
			errs = append(errs, p.route.NeighSet(n))
			p.count.repairs.Add(1)
		}
	}
	return errors.Join(errs...)
}

func neighKey(n netlink.Neigh) string {
	return fmt.Sprintf("%d %s %s", n.LinkIndex, n.IP, n.HardwareAddr)
}

func toNet(p netip.Prefix) *net.IPNet {
	p = p.Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
