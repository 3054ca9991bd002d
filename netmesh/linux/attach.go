package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// Attachment asks for a pod to be connected.
type Attachment struct {
	PodUID string
	PID    int    // a process in the pod's network namespace, or
	NetNS  string // the namespace's path
	Addr   netip.Addr
	Ports  []netmesh.HostPort // ports of the host that lead to the pod
}

func (a Attachment) validate() error {
	switch {
	case a.PodUID == "":
		return errors.New("the pod has no UID")
	case !a.Addr.Is4():
		return fmt.Errorf("address %q is not IPv4", a.Addr)
	case a.PID <= 0 && a.NetNS == "":
		return errors.New("neither process nor network namespace is given")
	}
	return nil
}

func (a Attachment) open() (netns.NsHandle, error) {
	path := a.NetNS
	if path == "" {
		path = fmt.Sprintf("/proc/%d/ns/net", a.PID)
	}
	return netns.GetFromPath(path)
}

// Attach connects a pod by a veth pair: the pod has one address without neighbours, its gateway is the host. Done again, it
// finds what is there and repairs what is missing; a pod whose namespace is a new one gets a new pair. Blocks for a few
// milliseconds of kernel work, for one pod at a time. May be called before Run.
func (p *Plane) Attach(ctx context.Context, a Attachment) error {
	if err := a.validate(); err != nil {
		return fmt.Errorf("attach pod %s: %w", a.PodUID, err)
	}
	p.attaching.Lock()
	defer p.attaching.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("attach pod %s: %w", a.PodUID, err)
	}
	pod := netmesh.LocalPod{UID: a.PodUID, Addr: a.Addr, Veth: vethName(a.PodUID), Ports: slices.Clone(a.Ports)}
	if err := p.attach(pod, a); err != nil {
		return fmt.Errorf("attach pod %s with %s: %w", a.PodUID, a.Addr, err)
	}
	p.mu.Lock()
	p.pods[pod.UID] = pod
	p.mu.Unlock()
	p.wakeUp()
	return nil
}

func (p *Plane) attach(pod netmesh.LocalPod, a Attachment) error {
	alias, err := encodeAlias(pod)
	if err != nil {
		return err
	}
	if other := p.holder(pod.Addr); other != "" && other != pod.UID {
		return fmt.Errorf("the address is attached to pod %s: detach that first", other)
	}
	ns, err := a.open()
	if err != nil {
		return fmt.Errorf("open the pod's network namespace: %w", err)
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter the pod's network namespace: %w", err)
	}
	defer inside.Close()
	mtu, err := p.podMTU()
	if err != nil {
		return err
	}
	outer, inner, err := p.pair(pod, ns, inside, mtu)
	if err != nil {
		return err
	}
	if err := dressPod(inside, inner, pod.Addr, mtu); err != nil {
		return err
	}
	if err := p.dressHost(outer, pod, alias, mtu); err != nil {
		return err
	}
	return errors.Join(awaitUp(p.route, outer), awaitUp(inside, inner))
}

// awaitUp waits until a link that was set up carries packets: the kernel gets a veth's second end ready in the
// background, and drops what is sent until then.
func awaitUp(h *netlink.Handle, l netlink.Link) error {
	for wait := 50 * time.Microsecond; wait < 2*time.Second; wait *= 2 { // in sum 4 s at most; mostly none
		now, err := h.LinkByIndex(l.Attrs().Index)
		if err != nil {
			return fmt.Errorf("look at %s: %w", l.Attrs().Name, err)
		}
		if now.Attrs().OperState == netlink.OperUp {
			return nil
		}
		time.Sleep(wait)
	}
	return fmt.Errorf("%s was set up and does not come up", l.Attrs().Name)
}

// pair finds the pod's veth, or makes it. The inner end is born inside the pod, under its final name.
func (p *Plane) pair(pod netmesh.LocalPod, ns netns.NsHandle, inside *netlink.Handle, mtu int) (outer, inner netlink.Link, err error) {
	if outer, err = p.route.LinkByName(pod.Veth); err == nil {
		inner, err := inside.LinkByName(podLink)
		if err == nil && inner.Type() == "veth" && inner.Attrs().ParentIndex == outer.Attrs().Index && outer.Attrs().ParentIndex == inner.Attrs().Index {
			return outer, inner, nil
		}
		if err := p.route.LinkDel(outer); err != nil { // of an earlier sandbox of this pod
			return nil, nil, fmt.Errorf("remove the veth of an earlier sandbox: %w", err)
		}
	}
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: pod.Veth, MTU: mtu, HardwareAddr: macOf(roleHost, pod.Addr), TxQLen: -1})
	veth.PeerName, veth.PeerNamespace, veth.PeerHardwareAddr, veth.PeerMTU = podLink, netlink.NsFd(ns), macOf(rolePod, pod.Addr), uint32(mtu)
	if err := p.route.LinkAdd(veth); err != nil {
		return nil, nil, fmt.Errorf("make veth pair %s: %w", pod.Veth, err)
	}
	if outer, err = p.route.LinkByName(pod.Veth); err != nil {
		return nil, nil, fmt.Errorf("find veth %s: %w", pod.Veth, err)
	}
	if inner, err = inside.LinkByName(podLink); err != nil {
		return nil, nil, fmt.Errorf("find %s in the pod: %w", podLink, err)
	}
	return outer, inner, nil
}

// dressPod gives the pod's side its address and its only way out. The gateway's hardware address is told, not asked for.
func dressPod(inside *netlink.Handle, eth0 netlink.Link, addr netip.Addr, mtu int) error {
	if lo, err := inside.LinkByName("lo"); err != nil {
		return fmt.Errorf("find lo in the pod: %w", err)
	} else if err := inside.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up in the pod: %w", err)
	}
	if err := onlyAddrs(inside, eth0, &netlink.Addr{IPNet: host32(addr)}); err != nil {
		return err
	}
	if eth0.Attrs().MTU != mtu {
		if err := inside.LinkSetMTU(eth0, mtu); err != nil {
			return fmt.Errorf("set the pod's MTU to %d: %w", mtu, err)
		}
	}
	if want := macOf(rolePod, addr); eth0.Attrs().HardwareAddr.String() != want.String() {
		if err := inside.LinkSetHardwareAddr(eth0, want); err != nil {
			return fmt.Errorf("set the pod's hardware address: %w", err)
		}
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("set %s up in the pod: %w", podLink, err)
	}
	index := eth0.Attrs().Index
	if err := inside.NeighSet(permanent(index, ServerAddr, macOf(roleHost, addr))); err != nil {
		return fmt.Errorf("tell the pod its gateway: %w", err)
	}
	ways := []*netlink.Route{
		{LinkIndex: index, Dst: host32(ServerAddr), Scope: netlink.SCOPE_LINK},
		{LinkIndex: index, Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Gw: ServerAddr.AsSlice(), Flags: int(netlink.FLAG_ONLINK)},
	}
	for _, w := range ways {
		if err := inside.RouteReplace(w); err != nil {
			return fmt.Errorf("route %s in the pod: %w", w.Dst, err)
		}
	}
	return nil
}

// dressHost readies the host's side. Packets from the pod must bear the pod's address (rp_filter).
func (p *Plane) dressHost(veth netlink.Link, pod netmesh.LocalPod, alias string, mtu int) error {
	if veth.Attrs().Alias != alias {
		if err := p.route.LinkSetAlias(veth, alias); err != nil {
			return fmt.Errorf("mark veth %s: %w", pod.Veth, err)
		}
	}
	if veth.Attrs().MTU != mtu {
		if err := p.route.LinkSetMTU(veth, mtu); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", mtu, pod.Veth, err)
		}
	}
	if want := macOf(roleHost, pod.Addr); veth.Attrs().HardwareAddr.String() != want.String() {
		if err := p.route.LinkSetHardwareAddr(veth, want); err != nil {
			return fmt.Errorf("set the hardware address of %s: %w", pod.Veth, err)
		}
	}
	if err := p.settings("ipv6/conf/"+pod.Veth+"/disable_ipv6=1", "ipv4/conf/"+pod.Veth+"/rp_filter=1"); err != nil {
		return err
	}
	if err := p.route.LinkSetUp(veth); err != nil {
		return fmt.Errorf("set %s up: %w", pod.Veth, err)
	}
	return p.leadToPod(veth, pod)
}

// leadToPod tells the host where the pod is.
func (p *Plane) leadToPod(veth netlink.Link, pod netmesh.LocalPod) error {
	index := veth.Attrs().Index
	if err := p.route.NeighSet(permanent(index, pod.Addr, macOf(rolePod, pod.Addr))); err != nil {
		return fmt.Errorf("set neighbour %s: %w", pod.Addr, err)
	}
	if err := p.route.RouteReplace(&netlink.Route{LinkIndex: index, Dst: host32(pod.Addr), Scope: netlink.SCOPE_LINK, Protocol: routeProto}); err != nil {
		return fmt.Errorf("route %s to %s: %w", pod.Addr, pod.Veth, err)
	}
	return nil
}

// Detach takes a pod off: its veth pair goes, with the routes that hang on it. A pod that is not attached is no error.
func (p *Plane) Detach(ctx context.Context, podUID string) error {
	p.attaching.Lock()
	defer p.attaching.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("detach pod %s: %w", podUID, err)
	}
	name := vethName(podUID)
	veth, err := p.route.LinkByName(name)
	if err == nil {
		if err = p.route.LinkDel(veth); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("detach pod %s: remove %s: %w", podUID, name, err)
		}
	} else if !missing(err) {
		return fmt.Errorf("detach pod %s: look for %s: %w", podUID, name, err)
	}
	p.mu.Lock()
	pod, known := p.pods[podUID]
	delete(p.pods, podUID)
	p.mu.Unlock()
	if known {
		p.forgetDatagrams(pod.Addr)
		p.wakeUp()
	}
	return nil
}

// Attached lists the pods that this host's kernel has, also those of an earlier life of the daemon.
func (p *Plane) Attached() []netmesh.LocalPod {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]netmesh.LocalPod, 0, len(p.pods))
	for _, pod := range p.pods {
		out = append(out, pod)
	}
	slices.SortFunc(out, func(a, b netmesh.LocalPod) int { return a.Addr.Compare(b.Addr) })
	return out
}

func (p *Plane) holder(a netip.Addr) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid, pod := range p.pods {
		if pod.Addr == a {
			if _, err := p.route.LinkByName(pod.Veth); err == nil {
				return uid
			}
			delete(p.pods, uid) // its sandbox died, and the veth with it
		}
	}
	return ""
}

// adopt learns the pods of an earlier life of the daemon.
func (p *Plane) adopt() error {
	links, err := p.route.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if pod, ok := decodeAlias(l.Attrs().Alias); ok && l.Attrs().Name == vethName(pod.UID) {
			pod.Veth = l.Attrs().Name
			p.pods[pod.UID] = pod
		}
	}
	return nil
}

func host32(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

func permanent(index int, a netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac}
}

func missing(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV) || errors.Is(err, os.ErrNotExist)
}

// onlyAddrs gives a link exactly these IPv4 addresses.
func onlyAddrs(h *netlink.Handle, l netlink.Link, want ...*netlink.Addr) error {
	have, err := h.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", l.Attrs().Name, err)
	}
	for _, w := range want {
		same := func(a netlink.Addr) bool { return a.IPNet.String() == w.IPNet.String() && a.Scope == w.Scope }
		if slices.ContainsFunc(have, same) {
			have = slices.DeleteFunc(have, same)
			continue
		}
		if err := h.AddrReplace(l, w); err != nil {
			return fmt.Errorf("give %s to %s: %w", w.IPNet, l.Attrs().Name, err)
		}
	}
	for _, a := range have {
		if err := h.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("take %s from %s: %w", a.IPNet, l.Attrs().Name, err)
		}
	}
	return nil
}
