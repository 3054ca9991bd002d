package linux

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// A UDP client that keeps its socket keeps its remembered translation too, for as long as it keeps sending. When an
// endpoint goes, the memory of it must go, or the client talks to nobody for ever.

// withdrawnFlows matches remembered flows that lead to withdrawn endpoints.
type withdrawnFlows map[netmesh.Withdrawn]bool

func (w withdrawnFlows) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok1 := netip.AddrFromSlice(f.Forward.DstIP)
	at, ok2 := netip.AddrFromSlice(f.Reverse.SrcIP)
	if !ok1 || !ok2 {
		return false
	}
	end := netip.AddrPortFrom(at.Unmap(), f.Reverse.SrcPort)
	key := netmesh.FrontendKey{Addr: to.Unmap(), Protocol: netmesh.UDP, Port: f.Forward.DstPort}
	if w[netmesh.Withdrawn{Frontend: key, Endpoint: end}] {
		return true
	}
	key.Addr = netip.Addr{} // a node port
	return end.Addr() != to.Unmap() && w[netmesh.Withdrawn{Frontend: key, Endpoint: end}]
}

// flowsOf matches the datagrams to and from one address.
type flowsOf netip.Addr

func (a flowsOf) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	want := netip.Addr(a).AsSlice()
	return f.Forward.SrcIP.Equal(want) || f.Reverse.SrcIP.Equal(want)
}

func (p *Plane) forget(gone []netmesh.Withdrawn) {
	if len(gone) == 0 {
		return
	}
	filter := make(withdrawnFlows, len(gone))
	for _, g := range gone {
		filter[g] = true
	}
	p.deleteFlows(filter)
}

// forgetDatagrams is for an address that another pod may get later.
func (p *Plane) forgetDatagrams(a netip.Addr) { p.deleteFlows(flowsOf(a)) }

func (p *Plane) deleteFlows(f netlink.CustomConntrackFilter) {
	var err error
	for range 3 { // a walk through the kernel's memory that is interrupted by a change has missed flows
		if _, err = p.flows.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, f); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		p.log.Warn("some datagrams may still go to withdrawn endpoints", "err", err)
	}
}
