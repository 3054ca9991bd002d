package gossip

import (
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
)

// TestRedialsDoNotShutOutTheHostThatTheyAreFor: dials to an address and connections from it are counted together. It needs an
// address that is not loopback, which libp2p does not count; nothing is sent to it.
func TestRedialsDoNotShutOutTheHostThatTheyAreFor(t *testing.T) {
	limits, err := resourceManager()
	if err != nil {
		t.Fatal(err)
	}
	defer limits.Close()
	addrs := multiaddrs(netip.MustParseAddrPort("192.0.2.7:7946"))
	for i := range 60 { // a minute of redials, QUIC and TCP each
		scope, err := limits.OpenConnection(network.DirOutbound, false, addrs[i%2])
		if err != nil {
			t.Fatalf("dial %d: %v", i, err)
		}
		scope.Done()
	}
	scope, err := limits.OpenConnection(network.DirInbound, false, addrs[0])
	if err != nil {
		t.Fatalf("the host is back, and refused: %v", err)
	}
	scope.Done()
}

// TestQUICHasAHeadStart: a connection must not go to TCP because the host was busy for a moment; where QUIC has no address,
// nobody waits for it.
func TestQUICHasAHeadStart(t *testing.T) {
	addrs := multiaddrs(netip.MustParseAddrPort("10.0.0.7:7946"))
	delay := map[bool]time.Duration{}
	for _, a := range quicFirst(addrs) {
		delay[over(ma.P_TCP)(a.Addr)] = a.Delay
	}
	if len(delay) != 2 || delay[false] != 0 || delay[true] < headStart || delay[true] > headStart+time.Second {
		t.Errorf("QUIC after %s, TCP after %s", delay[false], delay[true])
	}
	if got := quicFirst(addrs[1:]); len(got) != 1 || got[0].Delay != 0 {
		t.Errorf("TCP alone: %+v", got)
	}
}
