package gossip

import (
	"net/netip"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
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
