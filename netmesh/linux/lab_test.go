package linux

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// The lab: hosts, pods and clients are network namespaces of this test, joined by a router namespace that has one bridge a
// segment. Real packets, real kernel.

var (
	cluster = netip.MustParsePrefix("10.32.0.0/12")
	service = netip.MustParsePrefix("10.96.0.0/16")
)

type lab struct {
	*testing.T
	router   *box
	segments map[int]bool
	ports    int
}

// box is a network namespace.
type box struct {
	t    testing.TB
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle
}

func (b *box) path() string { return fmt.Sprintf("/proc/self/fd/%d", int(b.ns)) }

func newLab(t *testing.T) *lab {
	if os.Getuid() != 0 {
		t.Skip("makes network namespaces: needs root")
	}
	l := &lab{T: t, segments: map[int]bool{}}
	l.router = newBox(t, "router")
	if err := inNamespace(l.router.ns, setting{"ipv4/ip_forward", "1"}.write); err != nil {
		t.Fatal(err)
	}
	return l
}

func newBox(t testing.TB, name string) *box {
	t.Helper()
	var ns netns.NsHandle
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err == nil {
			ns, err = netns.New()
		}
		if err == nil && netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		home.Close()
		done <- err
	}()
	must(t, <-done)
	nl, err := netlink.NewHandleAt(ns)
	must(t, err)
	b := &box{t: t, name: name, ns: ns, nl: nl}
	lo, err := nl.LinkByName("lo")
	must(t, err)
	must(t, nl.LinkSetUp(lo))
	t.Cleanup(func() { nl.Close(); ns.Close() })
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plug connects a box to a segment with the address 192.168.SEGMENT.N/24 and a default route.
func (l *lab) plug(b *box, segment, n int) netip.Addr {
	l.Helper()
	bridge := fmt.Sprintf("br%d", segment)
	if !l.segments[segment] {
		l.segments[segment] = true
		must(l, l.router.nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge, TxQLen: -1}}))
		br, _ := l.router.nl.LinkByName(bridge)
		a, _ := netlink.ParseAddr(fmt.Sprintf("192.168.%d.1/24", segment))
		must(l, l.router.nl.AddrAdd(br, a))
		must(l, l.router.nl.LinkSetUp(br))
	}
	l.ports++
	port := fmt.Sprintf("port%d", l.ports)
	v := netlink.NewVeth(netlink.LinkAttrs{Name: "uplink", MTU: 1500, TxQLen: -1})
	v.PeerName, v.PeerNamespace = port, netlink.NsFd(l.router.ns)
	must(l, b.nl.LinkAdd(v))
	outer, err := l.router.nl.LinkByName(port)
	must(l, err)
	br, err := l.router.nl.LinkByName(bridge)
	must(l, err)
	must(l, l.router.nl.LinkSetMaster(outer, br))
	must(l, l.router.nl.LinkSetUp(outer))
	inner, err := b.nl.LinkByName("uplink")
	must(l, err)
	a, _ := netlink.ParseAddr(fmt.Sprintf("192.168.%d.%d/24", segment, n))
	must(l, b.nl.AddrAdd(inner, a))
	must(l, b.nl.LinkSetUp(inner))
	must(l, b.nl.RouteAdd(&netlink.Route{LinkIndex: inner.Attrs().Index, Gw: net.IPv4(192, 168, byte(segment), 1), Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}))
	got, _ := netip.AddrFromSlice(a.IP.To4())
	return got
}

// host is a box with a data plane.
type host struct {
	*box
	l     *lab
	self  netmesh.Node
	plane *Plane
	stop  func()
}

func (l *lab) host(n, segment int, backend Backend) *host {
	b := newBox(l, fmt.Sprintf("host%d", n))
	h := &host{box: b, l: l}
	h.self = netmesh.Node{ID: b.name, Name: b.name, Addr: l.plug(b, segment, 10+n), PodCIDR: netmesh.CIDR(cluster, 24, uint32(n))}
	h.start(backend)
	l.Cleanup(func() { h.stop() })
	return h
}

func (h *host) start(backend Backend) {
	h.t.Helper()
	p, err := New(Config{NetNS: h.path(), Backend: backend, Uplink: h.self.Addr})
	must(h.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	h.plane, h.stop = p, func() { cancel(); <-done }
}

func (h *host) show(nodes []*host, services ...netmesh.ServicePort) {
	h.t.Helper()
	pic := netmesh.Picture{Self: h.self, ClusterCIDR: cluster, ServiceCIDR: service}
	for _, n := range nodes {
		pic.Nodes = append(pic.Nodes, n.self)
	}
	for _, s := range services {
		s.Endpoints = append([]netmesh.Endpoint(nil), s.Endpoints...)
		for i := range s.Endpoints {
			a := s.Endpoints[i].Addr.Addr()
			s.Endpoints[i].Local = h.self.PodCIDR.Contains(a) || a == h.self.Addr
		}
		pic.Services = append(pic.Services, s)
	}
	before := h.plane.Counters().Applied
	h.plane.Set(pic)
	eventually(h.t, 3*time.Second, func() error {
		if h.plane.Counters().Applied == before {
			return fmt.Errorf("not applied: %w", h.plane.Status())
		}
		return h.plane.Status()
	})
}

func showAll(hosts []*host, services ...netmesh.ServicePort) {
	for _, h := range hosts {
		h.show(hosts, services...)
	}
}

// pod is a box that is attached to a host.
type pod struct {
	*box
	addr netip.Addr
	uid  string
}

func (h *host) pod(n int, ports ...netmesh.HostPort) *pod {
	h.t.Helper()
	a4 := h.self.PodCIDR.Addr().As4()
	a4[3] = byte(n)
	p := &pod{newBox(h.t, fmt.Sprintf("%s-pod%d", h.name, n)), netip.AddrFrom4(a4), fmt.Sprintf("uid-%s-%d", h.name, n)}
	must(h.t, h.plane.Attach(context.Background(), Attachment{PodUID: p.uid, NetNS: p.path(), Addr: p.addr, Ports: ports}))
	return p
}

// serve answers TCP and UDP with "name client-address" until the test ends; then echoes lines (TCP).
func (b *box) serve(port int) {
	b.t.Helper()
	must(b.t, inNamespace(b.ns, func() error {
		ln, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		pc, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		b.t.Cleanup(func() { ln.Close(); pc.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					ip, _, _ := net.SplitHostPort(c.RemoteAddr().String())
					fmt.Fprintf(c, "%s %s\n", b.name, ip)
					io.Copy(c, c)
				}()
			}
		}()
		go func() {
			buf := make([]byte, 2048)
			for {
				_, from, err := pc.ReadFrom(buf)
				if err != nil {
					return
				}
				ip, _, _ := net.SplitHostPort(from.String())
				pc.WriteTo([]byte(fmt.Sprintf("%s %s\n", b.name, ip)), from)
			}
		}()
		return nil
	}))
}

func (b *box) dial(network, to string) (c net.Conn, err error) {
	err = inNamespace(b.ns, func() error {
		c, err = net.DialTimeout(network, to, 2*time.Second)
		return err
	})
	return c, err
}

// ask connects and returns who answered and whom that one saw.
func (b *box) ask(network, to string) (who, saw string, err error) {
	c, err := b.dial(network, to)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return hear(c, network)
}

func hear(c net.Conn, network string) (who, saw string, err error) {
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if network == "udp4" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	buf := make([]byte, 256)
	n, err := c.Read(buf)
	if err != nil {
		return "", "", err
	}
	who, saw, _ = strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	return who, saw, nil
}

// wants asks until the answer is right: the world needs a moment after a change.
func (b *box) wants(network, to, who, saw string) {
	b.t.Helper()
	eventually(b.t, 3*time.Second, func() error {
		w, s, err := b.ask(network, to)
		if err != nil {
			return fmt.Errorf("%s asks %s: %w", b.name, to, err)
		}
		if who != "" && w != who || saw != "" && s != saw {
			return fmt.Errorf("%s asks %s: %q answered and saw %q, want %q to see %q", b.name, to, w, s, who, saw)
		}
		return nil
	})
}

func (b *box) run(name string, args ...string) string {
	b.t.Helper()
	var out []byte
	must(b.t, inNamespace(b.ns, func() (err error) {
		out, err = exec.Command(name, args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return err
	}))
	return string(out)
}

func eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
