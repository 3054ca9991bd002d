package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

func clusterIP(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 96, 0, byte(n)}) }

func svc(name string, n int, proto netmesh.Protocol, eps ...netip.AddrPort) netmesh.ServicePort {
	s := netmesh.ServicePort{Service: "default/" + name, ClusterIPs: []netip.Addr{clusterIP(n)}, Protocol: proto, Port: 80}
	for _, e := range eps {
		s.Endpoints = append(s.Endpoints, netmesh.Endpoint{Addr: e})
	}
	return s
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// TestPodsReachOneAnother asks between pods of two hosts, by each way there is, for TCP and UDP, and looks that nobody
// changes the source on the way.
func TestPodsReachOneAnother(t *testing.T) {
	for _, c := range []struct {
		name     string
		segments [2]int
		backend  Backend
		device   string
	}{
		{"same link", [2]int{1, 1}, Auto, "uplink"},
		{"behind a router", [2]int{1, 2}, Auto, vxlanLink},
		{"same link, VXLAN forced", [2]int{1, 1}, VXLAN, vxlanLink},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			h := []*host{l.host(1, c.segments[0], c.backend), l.host(2, c.segments[1], c.backend)}
			showAll(h)
			a, b, near := h[0].pod(2), h[1].pod(2), h[0].pod(3)
			b.serve(8080)
			near.serve(8080)
			for _, network := range []string{"tcp4", "udp4"} {
				a.wants(network, at(b.addr, 8080).String(), b.name, a.addr.String())
				a.wants(network, at(near.addr, 8080).String(), near.name, a.addr.String())
				h[0].wants(network, at(b.addr, 8080).String(), b.name, "")
				h[0].wants(network, at(near.addr, 8080).String(), near.name, "")
			}
			link, err := h[0].nl.LinkByName(c.device)
			must(t, err)
			ways, err := h[0].nl.RouteGet(b.addr.AsSlice())
			must(t, err)
			if ways[0].LinkIndex != link.Attrs().Index {
				t.Errorf("the way to the other host leaves by link %d, want %s", ways[0].LinkIndex, c.device)
			}
			// from the pod network to the world: with the host's address
			l.router.serve(9090)
			a.wants("tcp4", "192.168.1.1:9090", "router", h[0].self.Addr.String())
			// a pod that is not there is told so at once
			if _, _, err := a.ask("tcp4", at(netmesh.CIDR(cluster, 24, 77).Addr().Next(), 80).String()); !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
				t.Errorf("asking a pod address that nobody has: %v, want host unreachable", err)
			}
		})
	}
}

func TestServices(t *testing.T) {
	for _, segments := range [][2]int{{1, 1}, {1, 2}} {
		t.Run(fmt.Sprint("segments ", segments), func(t *testing.T) {
			l := newLab(t)
			h := []*host{l.host(1, segments[0], Auto), l.host(2, segments[1], Auto)}
			a, b := h[0].pod(2), h[1].pod(2)
			a.serve(8080)
			b.serve(8080)
			h[1].serve(8443)
			outside := newBox(t, "outside")
			outsideAddr := l.plug(outside, 3, 99)
			remote, local := svc("remote", 1, netmesh.TCP, at(b.addr, 8080)), svc("local", 2, netmesh.TCP, at(a.addr, 8080))
			remote.NodePort, local.NodePort = 30001, 30002
			keep := svc("keep", 3, netmesh.TCP, at(b.addr, 8080))
			keep.NodePort, keep.LocalOnly = 30003, true
			machine := svc("machine", 4, netmesh.TCP, at(h[1].self.Addr, 8443))
			machine.NodePort = 30004
			none := svc("none", 5, netmesh.TCP)
			none.NodePort = 30005
			datagrams := svc("datagrams", 6, netmesh.UDP, at(b.addr, 8080))
			datagrams.NodePort = 30006
			sticky := svc("sticky", 7, netmesh.TCP, at(a.addr, 8080), at(b.addr, 8080))
			sticky.Affinity = true
			both := svc("both", 8, netmesh.TCP, at(a.addr, 8080), at(b.addr, 8080))
			showAll(h, remote, local, keep, machine, none, datagrams, sticky, both)

			ip := func(n int) string { return at(clusterIP(n), 80).String() }
			node := func(i, port int) string { return at(h[i].self.Addr, uint16(port)).String() }
			gw := netmesh.Gateway(h[0].self.PodCIDR).String()
			a.wants("tcp4", ip(1), b.name, a.addr.String())                     // cluster IP, elsewhere
			h[0].wants("tcp4", ip(1), b.name, gw)                               // from the host itself
			h[0].wants("tcp4", ip(2), a.name, gw)                               // from the host to its own pod
			a.wants("tcp4", ip(2), a.name, gw)                                  // hairpin
			a.wants("tcp4", ip(4), h[1].name, h[0].self.Addr.String())          // an endpoint that is a host
			h[0].wants("tcp4", ip(4), h[1].name, h[0].self.Addr.String())       // and from a host
			h[1].wants("tcp4", ip(4), h[1].name, "")                            // and from that host
			outside.wants("tcp4", node(0, 30001), b.name, gw)                   // node port, elsewhere
			outside.wants("tcp4", node(0, 30002), a.name, outsideAddr.String()) // node port, here: the client is seen
			outside.wants("tcp4", node(1, 30003), b.name, outsideAddr.String()) // local only
			outside.wants("tcp4", node(0, 30004), h[1].name, h[0].self.Addr.String())
			a.wants("tcp4", node(0, 30001), b.name, "")
			a.wants("tcp4", node(1, 30001), b.name, "")
			h[0].wants("tcp4", node(0, 30001), b.name, "")
			a.wants("udp4", ip(6), b.name, a.addr.String())
			outside.wants("udp4", node(0, 30006), b.name, gw)
			// refused, at once
			for _, c := range []struct {
				from *box
				to   string
			}{
				{a.box, ip(5)}, {h[0].box, ip(5)}, {outside, node(0, 30005)}, {outside, node(0, 30003)},
				{a.box, "10.96.77.7:80"}, {h[0].box, "10.96.77.7:80"}, {a.box, "10.96.0.1:81"},
			} {
				if _, _, err := c.from.ask("tcp4", c.to); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%s asks %s, which has no endpoints: %v, want connection refused", c.from.name, c.to, err)
				}
			}
			// affinity: always the same; without: both
			first, _, err := outside.ask("tcp4", node(0, 30001))
			must(t, err)
			_ = first
			seen := map[string]map[string]int{"sticky": {}, "both": {}}
			for range 40 {
				w, _, err := a.ask("tcp4", ip(7))
				must(t, err)
				seen["sticky"][w]++
				w, _, err = a.ask("tcp4", ip(8))
				must(t, err)
				seen["both"][w]++
			}
			if len(seen["sticky"]) != 1 || len(seen["both"]) != 2 {
				t.Errorf("40 connections each met %v: want one endpoint of the sticky service and both of the other", seen)
			}
		})
	}
}
