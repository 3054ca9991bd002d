package gossip

import (
	"context"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// gate is a libp2p host on which only admitted peers are heard: every protocol of the mesh, gossipsub's included, is
// registered and dialed through it. Beside it, on the bare host, live only hello, join and libp2p's own identify.
type gate struct {
	host.Host
	admission *admission
}

func (g *gate) SetStreamHandler(p protocol.ID, h network.StreamHandler) {
	g.Host.SetStreamHandler(p, g.guard(h))
}

func (g *gate) SetStreamHandlerMatch(p protocol.ID, m func(protocol.ID) bool, h network.StreamHandler) {
	g.Host.SetStreamHandlerMatch(p, m, g.guard(h))
}

// guard lets a stream wait for the hello that may still be on its way: the dialer's first streams can overtake it.
func (g *gate) guard(h network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		if !g.admission.has(s.Conn().RemotePeer()) {
			if err := g.admission.wait(context.Background(), s.Conn().RemotePeer()); err != nil {
				_ = s.Reset()
				return
			}
		}
		h(s)
	}
}

func (g *gate) NewStream(ctx context.Context, id peer.ID, ps ...protocol.ID) (network.Stream, error) {
	if nodial, _ := network.GetNoDial(ctx); !nodial {
		if err := g.Host.Connect(ctx, peer.AddrInfo{ID: id}); err != nil {
			return nil, err
		}
	}
	if err := g.admission.wait(ctx, id); err != nil {
		return nil, err
	}
	return g.Host.NewStream(network.WithNoDial(ctx, "already connected"), id, ps...)
}
