package linux

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"
	"time"
	"unsafe"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/netmesh/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPodsAskTheirHostForNames runs the name server on a host before its data plane has made the address, and asks from a
// pod and from the host.
func TestPodsAskTheirHostForNames(t *testing.T) {
	l := newLab(t)
	h := l.host(1, 1, Auto)
	server := dns.New(dns.Config{})
	server.Set(dns.NewZone("cluster.local", nil, []dns.Service{{Namespace: "default", Name: "kubernetes", ClusterIPs: []netip.Addr{clusterIP(1)}}}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- inNamespace(h.ns, func() error { return server.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-server.Ready():
	case <-time.After(3 * time.Second):
		t.Fatal("the name server does not start while its address is missing")
	}
	h.show([]*host{h})
	p := h.pod(2)
	for _, from := range []*box{p.box, h.box} {
		for _, network := range []string{"udp4", "tcp4"} {
			c, err := from.dial(network, at(ServerAddr, 53).String())
			must(t, err)
			defer c.Close()
			reply, _, err := (&mdns.Client{Net: network[:3], Timeout: 2 * time.Second}).ExchangeWithConn(
				new(mdns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", mdns.TypeA), &mdns.Conn{Conn: c})
			if err != nil || len(reply.Answer) != 1 {
				t.Errorf("%s asks by %s: %v, %v", from.name, network, reply, err)
			}
		}
	}
}

// TestAttachByProcess finds the namespace by a process in it, as a sandbox container is found.
func TestAttachByProcess(t *testing.T) {
	l := newLab(t)
	h := l.host(1, 1, Auto)
	h.show([]*host{h})
	sandbox := exec.Command("sleep", "60")
	sandbox.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	must(t, sandbox.Start())
	defer sandbox.Wait()
	defer sandbox.Process.Kill()
	a := Attachment{PodUID: "u", PID: sandbox.Process.Pid, Addr: netip.MustParseAddr("10.32.1.2")}
	must(t, h.plane.Attach(context.Background(), a))
	must(t, h.plane.Attach(context.Background(), a))
	out, err := exec.Command("nsenter", "--net", "-t", fmt.Sprint(a.PID), "ip", "-4", "-o", "route").CombinedOutput()
	must(t, err)
	if got, want := string(out), "default via 169.254.1.1 dev eth0 onlink \n169.254.1.1 dev eth0 scope link \n"; got != want {
		t.Errorf("routes in the pod:\n%swant\n%s", got, want)
	}
	must(t, sandbox.Process.Kill())
	_, _ = sandbox.Process.Wait()
	eventually(t, 3*time.Second, func() error { // the kernel takes the veth away by itself
		if _, err := h.nl.LinkByName(vethName("u")); !missing(err) {
			return fmt.Errorf("the veth outlives its sandbox: %v", err)
		}
		return h.plane.Status()
	})
	b := newBox(t, "next")
	must(t, h.plane.Attach(context.Background(), Attachment{PodUID: "v", NetNS: b.path(), Addr: a.Addr}))
	for _, bad := range []Attachment{{}, {PodUID: "x", Addr: a.Addr}, {PodUID: "x", PID: 1}, {PodUID: "x", PID: 1 << 22, Addr: netip.MustParseAddr("10.32.1.9")}} {
		if err := h.plane.Attach(context.Background(), bad); err == nil {
			t.Errorf("attached %+v", bad)
		}
	}
}

// TestSegmentsFitThroughTheTunnel connects from outside, where packets are larger than the tunnel takes, and looks at the
// segment size in the opening packet as it arrives behind the tunnel.
func TestSegmentsFitThroughTheTunnel(t *testing.T) {
	l := newLab(t)
	h := []*host{l.host(1, 1, Auto), l.host(2, 2, Auto)}
	s := svc("web", 1, netmesh.TCP, at(netmesh.Gateway(h[1].self.PodCIDR), 8080))
	s.NodePort = 30001
	showAll(h, s)
	outside := newBox(t, "outside")
	l.plug(outside, 3, 99)
	keepSyn := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_SAVE_SYN, 1) })
	}}
	keepSyn.SetMultipathTCP(false) // which does not know the option
	var ln net.Listener
	must(t, inNamespace(h[1].ns, func() (err error) { ln, err = keepSyn.Listen(context.Background(), "tcp4", ":8080"); return err }))
	defer ln.Close()
	c, err := outside.dial("tcp4", at(h[0].self.Addr, 30001).String())
	must(t, err)
	defer c.Close()
	far, err := ln.Accept()
	must(t, err)
	defer far.Close()
	raw, err := far.(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		syn := make([]byte, 256)
		n := uint32(len(syn))
		if _, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_SAVED_SYN, uintptr(unsafe.Pointer(&syn[0])), uintptr(unsafe.Pointer(&n)), 0); e != 0 {
			t.Fatal(e)
		}
		option := syn[40:n] // behind the headers of IP and TCP; the segment size comes first
		if len(option) < 4 || option[0] != 2 || int(option[2])<<8|int(option[3]) != 1500-vxlanExtra-40 {
			t.Errorf("options of the opening packet % x: want a segment size of %d", option, 1500-vxlanExtra-40)
		}
	}))
}
