package gossip

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// Ten minutes of redials that nobody answers must not use up what its host may connect when it is back.
func TestRedialsLeaveRoomForTheirHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits, err := resourceManager()
		if err != nil {
			t.Fatal(err)
		}
		defer limits.Close()
		open := func(way network.Direction) {
			for _, a := range multiaddrs(netip.MustParseAddrPort("10.99.0.3:7946")) {
				scope, err := limits.OpenConnection(way, false, a)
				if err != nil {
					t.Fatalf("connection to %s, direction %s: %v", a, way, err)
				}
				scope.Done()
			}
		}
		for range 400 {
			open(network.DirOutbound)
			time.Sleep(redialWait(time.Minute, 0.5))
		}
		open(network.DirInbound)
	})
}

// A server whose data directory was deleted joins again under its name and address, again and again, after a long absence:
// everybody sees the new one, and the old one is gone for good.
func TestRejoinUnderTheSameAddress(t *testing.T) {
	var addrs []netip.Addr
	for i := range 3 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}))
	}
	if !aloneWith(t, addrs...) {
		return
	}
	config := func(i int) Config {
		cfg := configure(t, fmt.Sprintf("n%d", i))
		cfg.Listen = netip.AddrPortFrom(addrs[i], DefaultPort)
		return cfg
	}
	first := config(0)
	if err := Create(first); err != nil {
		t.Fatal(err)
	}
	all := []*server{start(t, first)}
	enter := func(i int) *server {
		cfg := config(i)
		if err := Join(t.Context(), cfg, all[0].token()); err != nil {
			t.Fatal(err)
		}
		return start(t, cfg)
	}
	all = append(all, enter(1), enter(2))
	for range 2 {
		old := all[2]
		for _, s := range all[:2] {
			s.await(old, Alive, 20*time.Second)
		}
		old.crash()
		for _, s := range all[:2] {
			s.await(old, Failed, 20*time.Second)
		}
		old.end()
		for _, s := range all[:2] {
			s.dialInVain(old)
		}
		all[2] = enter(2)
		for _, s := range all {
			for _, o := range all {
				s.await(o, Alive, 20*time.Second)
			}
		}
		for _, s := range all[:2] {
			s.await(old, Left, 20*time.Second)
		}
	}
}

// dialInVain spends on a dead server's address what the redials of minutes do.
func (s *server) dialInVain(o *server) {
	limits := s.link().host.Network().ResourceManager()
	for range 100 {
		for _, a := range multiaddrs(o.Self().Addr) {
			scope, err := limits.OpenConnection(network.DirOutbound, false, a)
			if err != nil {
				s.t.Fatalf("%s may not dial %s: %v", s.cfg.Name, a, err)
			}
			scope.Done()
		}
	}
}

// aloneWith runs the calling test again in a network namespace of its own, where the loopback link has these addresses too,
// and returns false in the outer run. libp2p is indulgent with 127.0.0.0/8 (its rate limits do not count there), so that what
// happens between real hosts shows at other addresses only.
func aloneWith(t *testing.T, addrs ...netip.Addr) bool {
	t.Helper()
	const mark = "GOSSIP_TEST_NAMESPACE"
	if os.Getenv(mark) == "" {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		inner := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		inner.Env = append(os.Environ(), mark+"=1")
		inner.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		out, err := inner.CombinedOutput()
		if err != nil && inner.ProcessState == nil {
			t.Skipf("a network namespace of its own needs root: %v", err)
		}
		t.Logf("in a namespace of its own:\n%s", out)
		if err != nil {
			t.Error(err)
		}
		return false
	}
	commands := [][]string{{"link", "set", "lo", "up"}}
	for _, a := range addrs {
		commands = append(commands, []string{"addr", "add", a.String() + "/32", "dev", "lo"})
	}
	for _, c := range commands {
		if out, err := exec.CommandContext(t.Context(), "ip", c...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", c, err, out)
		}
	}
	return true
}
