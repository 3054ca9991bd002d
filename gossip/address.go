package gossip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	ma "github.com/multiformats/go-multiaddr"
)

// routeAddr is the source address of the default route, else the first global unicast address of any interface that is up.
// Connecting a UDP socket sends nothing: the kernel only chooses a route.
func routeAddr(v4 bool) (netip.Addr, error) {
	network, probe := "udp4", "192.0.2.1:9"
	if !v4 {
		network, probe = "udp", "[2001:db8::1]:9"
	}
	if conn, err := net.Dial(network, probe); err == nil {
		defer conn.Close()
		if a, ok := conn.LocalAddr().(*net.UDPAddr); ok && usable(a.AddrPort().Addr()) {
			return a.AddrPort().Addr().Unmap(), nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list interface addresses: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && usable(ip) && (!v4 || ip.Unmap().Is4()) {
				return ip.Unmap(), nil
			}
		}
	}
	return netip.Addr{}, errors.New("this host has no global unicast address")
}

func usable(a netip.Addr) bool {
	return a.Unmap().IsGlobalUnicast() && !a.IsLoopback()
}

// multiaddrs are the ways to dial one address: QUIC first, TCP where UDP is blocked.
func multiaddrs(a netip.AddrPort) []ma.Multiaddr {
	family := "ip4"
	if a.Addr().Unmap().Is6() {
		family = "ip6"
	}
	out := make([]ma.Multiaddr, 0, 2)
	for _, format := range []string{"/%s/%s/udp/%d/quic-v1", "/%s/%s/tcp/%d"} {
		if m, err := ma.NewMultiaddr(fmt.Sprintf(format, family, a.Addr().Unmap(), a.Port())); err == nil {
			out = append(out, m)
		}
	}
	return out
}
