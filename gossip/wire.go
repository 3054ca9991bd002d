package gossip

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// wire stands between one host and its sockets and decides about every packet. Production has none; tests cut, lose, delay and
// freeze with it. drop is called with the far side's address for both directions, late for what is sent; both must be fast.
type wire struct {
	mu   sync.RWMutex // guards drop and late
	drop func(far netip.AddrPort) bool
	late func(far netip.AddrPort) time.Duration
}

func (w *wire) set(drop func(far netip.AddrPort) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop = drop
}

func (w *wire) drops(far netip.AddrPort) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.drop != nil && w.drop(far)
}

func (w *wire) delay(late func(far netip.AddrPort) time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = late
}

func (w *wire) delays(far netip.AddrPort) time.Duration {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.late == nil {
		return 0
	}
	return w.late(far)
}

func (w *wire) packets() []quicreuse.Option {
	if w == nil {
		return nil
	}
	return []quicreuse.Option{quicreuse.OverrideListenUDP(func(network string, addr *net.UDPAddr) (net.PacketConn, error) {
		conn, err := net.ListenUDP(network, addr)
		if err != nil {
			return nil, err
		}
		return &lossyConn{PacketConn: conn, wire: w}, nil
	})}
}

type lossyConn struct {
	net.PacketConn
	wire *wire
}

func (c *lossyConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(p)
		if a, ok := from.(*net.UDPAddr); err != nil || !ok || !c.wire.drops(plain(a)) {
			return n, from, err
		}
	}
}

func (c *lossyConn) WriteTo(p []byte, to net.Addr) (int, error) {
	if a, ok := to.(*net.UDPAddr); ok {
		if c.wire.drops(plain(a)) {
			return len(p), nil
		}
		if late := c.wire.delays(plain(a)); late > 0 {
			p := bytes.Clone(p)
			time.AfterFunc(late, func() { _, _ = c.PacketConn.WriteTo(p, to) })
			return len(p), nil
		}
	}
	return c.PacketConn.WriteTo(p, to)
}

func plain(a *net.UDPAddr) netip.AddrPort {
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// TCP has no packets here: a cut refuses to dial and to accept.

func (w *wire) InterceptPeerDial(peer.ID) bool { return true }

func (w *wire) InterceptAddrDial(_ peer.ID, a ma.Multiaddr) bool {
	return w.passes(a)
}

func (w *wire) passes(a ma.Multiaddr) bool {
	na, err := manet.ToNetAddr(a)
	if err != nil {
		return true // a QUIC address: its packets are judged one by one
	}
	t, ok := na.(*net.TCPAddr)
	return !ok || !w.drops(netip.AddrPortFrom(t.AddrPort().Addr().Unmap(), t.AddrPort().Port()))
}

func (w *wire) InterceptAccept(c network.ConnMultiaddrs) bool { return w.passes(c.RemoteMultiaddr()) }

func (w *wire) InterceptSecured(_ network.Direction, _ peer.ID, c network.ConnMultiaddrs) bool {
	return w.passes(c.RemoteMultiaddr())
}

func (w *wire) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	return w.passes(c.RemoteMultiaddr()), 0
}
