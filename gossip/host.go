package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
)

// newHost listens on QUIC and TCP at the same port number and returns the packet connection that shares the UDP port for
// what is not QUIC. Closing the host leaves the UDP port open until ports is closed too. No DHT, no relay, no address discovery: peers come from tokens, serf, the peers file and mDNS.
func newHost(cfg Config, self identity, advertise netip.AddrPort) (_ host.Host, shared net.PacketConn, ports io.Closer, err error) {
	limits, err := resourceManager()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("listen on %s: %w", cfg.Listen, err)
	}
	conns, err := connmgr.NewConnManager(1024, 2048, connmgr.WithGracePeriod(time.Minute))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("listen on %s: %w", cfg.Listen, err)
	}
	var udp *quicreuse.ConnManager
	reuse := func(reset quic.StatelessResetKey, tokens quic.TokenGeneratorKey) (*quicreuse.ConnManager, error) {
		var err error
		verify := quicreuse.VerifySourceAddress(limits.VerifySourceAddress)
		account := quicreuse.ConnContext(accounting(limits))
		udp, err = quicreuse.NewConnManager(reset, tokens, append(cfg.wire.packets(), verify, account)...)
		return udp, err
	}
	options := append(commonOptions(self),
		libp2p.ListenAddrs(multiaddrs(cfg.Listen)...),
		libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return multiaddrs(advertise) }),
		libp2p.QUICReuse(reuse),
		libp2p.ResourceManager(limits),
		libp2p.ConnectionManager(conns),
	)
	if cfg.wire != nil {
		options = append(options, libp2p.ConnectionGater(cfg.wire))
	}
	h, err := libp2p.New(options...)
	if err != nil {
		if udp != nil {
			err = errors.Join(err, udp.Close())
		}
		return nil, nil, nil, fmt.Errorf("listen on %s: %w", cfg.Listen, err)
	}
	if len(h.Network().ListenAddresses()) < 2 { // libp2p is content with one of the two
		return nil, nil, nil, errors.Join(fmt.Errorf("listen on %s: the UDP or the TCP port: %w", cfg.Listen, syscall.EADDRINUSE), h.Close(), udp.Close())
	}
	shared, err = udp.SharedNonQUICPacketConn("", net.UDPAddrFromAddrPort(cfg.Listen))
	if err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("share UDP port %s: %w", cfg.Listen, err), h.Close(), udp.Close())
	}
	return h, shared, udp, nil
}

// accounting charges every incoming QUIC connection to the resource manager from its first packet and gives the charge back
// when it ends, however it ends. Without it handshakes that a broken link cut short stay charged to their peer, until
// the peer has used up its connections and can't come back.
func accounting(limits network.ResourceManager) func(context.Context, *quic.ClientInfo) (context.Context, error) {
	return func(ctx context.Context, from *quic.ClientInfo) (context.Context, error) {
		addr, err := quicreuse.ToQuicMultiaddr(from.RemoteAddr, quic.Version1)
		if err != nil {
			addr = nil // the manager decides about a connection from nowhere
		}
		scope, err := limits.OpenConnection(network.DirInbound, false, addr)
		if err != nil {
			return ctx, err
		}
		context.AfterFunc(ctx, scope.Done)
		return network.WithConnManagementScope(ctx, scope), nil
	}
}

// newGuest is the host of a server that has not joined yet: it dials, and listens on a passing port only for mDNS.
func newGuest(cfg Config, self identity, listen ...ma.Multiaddr) (host.Host, error) {
	options := append(commonOptions(self), libp2p.ResourceManager(&network.NullResourceManager{}))
	if len(listen) == 0 {
		options = append(options, libp2p.NoListenAddrs)
	} else {
		options = append(options, libp2p.ListenAddrs(listen...))
	}
	h, err := libp2p.New(options...)
	if err != nil {
		return nil, fmt.Errorf("start transport: %w", err)
	}
	return h, nil
}

func commonOptions(self identity) []libp2p.Option {
	return []libp2p.Option{
		libp2p.Identity(self.key),
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.DisableMetrics(),
		libp2p.Ping(false),
		libp2p.UserAgent("orpheus"),
		libp2p.WithDialTimeout(dialTimeout),
		libp2p.SwarmOpts(swarm.WithDialRanker(quicFirst)),
		libp2p.UDPBlackHoleSuccessCounter(nil), // a long partition must not make UDP look blocked for good
		libp2p.IPv6BlackHoleSuccessCounter(nil),
	}
}

// quicFirst gives QUIC a head start over TCP that a busy host can use: libp2p's own in a private network is 30 ms, and a connection that
// went to TCP by chance stays there. It costs twice the packets, and loses the proof that UDP gets through.
func quicFirst(addrs []ma.Multiaddr) []network.AddrDelay {
	ranked := swarm.DefaultDialRanker(addrs)
	if slices.ContainsFunc(addrs, over(ma.P_QUIC_V1)) {
		for i, a := range ranked {
			if over(ma.P_TCP)(a.Addr) {
				ranked[i].Delay += headStart
			}
		}
	}
	return ranked
}

func over(protocol int) func(ma.Multiaddr) bool {
	return func(a ma.Multiaddr) bool { _, err := a.ValueForProtocol(protocol); return err == nil }
}

// resourceManager bounds what all peers together and each peer may hold: generous for a mesh of hundreds, finite for a
// stranger who opens connections.
func resourceManager() (network.ResourceManager, error) {
	base := rcmgr.DefaultLimits.AutoScale()
	peerLimit := rcmgr.ResourceLimits{
		Streams: 4096, StreamsInbound: 2048, StreamsOutbound: 4096,
		Conns: 64, ConnsInbound: 32, ConnsOutbound: 32, FD: 32, Memory: 256 << 20,
	}
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Streams: 65536, StreamsInbound: 32768, StreamsOutbound: 65536,
			Conns: 4096, ConnsInbound: 2048, ConnsOutbound: 2048, FD: 2048, Memory: 1 << 30,
		},
		Transient: rcmgr.ResourceLimits{
			Streams: 1024, StreamsInbound: 512, StreamsOutbound: 1024,
			Conns: 256, ConnsInbound: 128, ConnsOutbound: 256, FD: 256, Memory: 128 << 20,
		},
		PeerDefault:         peerLimit,
		ProtocolDefault:     rcmgr.ResourceLimits{Streams: 16384, StreamsInbound: 8192, StreamsOutbound: 16384, Memory: 512 << 20},
		ProtocolPeerDefault: rcmgr.ResourceLimits{Streams: 1024, StreamsInbound: 512, StreamsOutbound: 1024, Memory: 128 << 20},
	}
	// Many members may share one address behind a NAT; libp2p's default allows 8 connections from one.
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.Build(base)), rcmgr.WithConnRateLimiters(connectionRates()),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: 512}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: 512}}))
}

// connectionRates bounds how many connections begin with one address, in and out together: a second's redials of a large
// mesh behind one NAT. libp2p's default is one in 5 s and counts our own failed dials too, so that the redials of a
// dead member would leave nothing to its host once it is back: both sides dialed, each refused the other's every attempt.
func connectionRates() *rate.Limiter {
	limit := rate.Limit{RPS: 64, Burst: 512}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{ // loopback: no limit
			{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: limit}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: limit}},
			GracePeriod:      time.Minute,
		},
	}
}
