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

// TestSegmentsFitThroughTheTunnel connects from outside, where packets are larger than the tunnel takes.
func TestSegmentsFitThroughTheTunnel(t *testing.T) {
	l := newLab(t)
	h := []*host{l.host(1, 1, Auto), l.host(2, 2, Auto)}
	showAll(h)
	h[1].serve(8080) // as if it were a pod with a large MTU: its own address in the pod network
	s := svc("web", 1, netmesh.TCP, at(netmesh.Gateway(h[1].self.PodCIDR), 8080))
	s.NodePort = 30001
	showAll(h, s)
	outside := newBox(t, "outside")
	l.plug(outside, 3, 99)
	door := at(h[0].self.Addr, 30001).String()
	outside.wants("tcp4", door, h[1].name, "")
	c, err := outside.dial("tcp4", door)
	must(t, err)
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		mss, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG)
		if err != nil || mss > 1450-40 {
			t.Errorf("the client sends segments of %d bytes (%v), the tunnel takes 1410", mss, err)
		}
	}))
	c.SetDeadline(time.Now().Add(5 * time.Second))
	sent := make([]byte, 1<<20)
	go func() { _, _ = c.Write(sent) }()
	got, buf := 0, make([]byte, 1<<16)
	for got < len(sent) {
		n, err := c.Read(buf)
		must(t, err)
		got += n
	}
}
