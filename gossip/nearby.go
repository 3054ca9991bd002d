package gossip

import (
	"context"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	ma "github.com/multiformats/go-multiaddr"
)

// mdnsName is the service that members of a mesh announce on their link. It says no more than which mesh they are of.
func mdnsName(mesh string) string { return "_orph-" + mesh[:8] + "._udp" }

// found passes on what mDNS finds; a full queue loses it, for it is announced again.
type found chan peer.AddrInfo

func (f found) HandlePeerFound(info peer.AddrInfo) {
	select {
	case f <- info:
	default:
	}
}

// announced shows mDNS the addresses that we advertise in the place of those of all interfaces. Among these are the pods' networks: a
// connection over one of them would depend on what the mesh builds.
type announced struct{ host.Host }

func (a announced) Network() network.Network { return announcedNetwork{a.Host.Network(), a.Addrs()} }

type announcedNetwork struct {
	network.Network
	addrs []ma.Multiaddr
}

func (a announcedNetwork) InterfaceListenAddresses() ([]ma.Multiaddr, error) { return a.addrs, nil }

// looking announces this node on the local link and takes note of where known peers are, in case their addresses changed.
func (n *link) looking(ctx context.Context) error {
	finds := make(found, foundQueue)
	service := mdns.NewMdnsService(announced{n.host}, mdnsName(n.mesh.keys.MeshID), finds)
	if err := service.Start(); err != nil {
		n.mesh.log.Warn("mDNS does not work here; members are found by their addresses only", "error", err)
		return nil
	}
	defer service.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case info := <-finds:
			k, ok := n.mesh.book.get(ID(info.ID.String()))
			if !ok || k.Left || n.host.Network().Connectedness(info.ID) == network.Connected {
				continue
			}
			n.do(func() {
				dial, cancel := context.WithTimeout(ctx, redialTimeout)
				defer cancel()
				if err := n.host.Connect(dial, info); err != nil {
					n.mesh.log.Debug("a peer found by mDNS does not answer", "peer", info.ID, "error", err)
				}
			})
		}
	}
}

// knockNearby looks for members on the local link and asks each that answers.
func knockNearby(ctx context.Context, cfg Config, self identity, t token) (joinAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinBudget)
	defer cancel()
	h, err := newGuest(cfg, self, ma.StringCast("/ip4/0.0.0.0/tcp/0"))
	if err != nil {
		return joinAnswer{}, err
	}
	defer h.Close()
	finds := make(found, foundQueue)
	service := mdns.NewMdnsService(h, mdnsName(t.meshID()), finds)
	if err := service.Start(); err != nil {
		return joinAnswer{}, fmt.Errorf("%w (mDNS: %w)", ErrUnreachable, err)
	}
	defer service.Close()
	var last error
	for {
		select {
		case <-ctx.Done():
			if last != nil {
				return joinAnswer{}, last
			}
			return joinAnswer{}, ErrUnreachable
		case info := <-finds:
			dial, stop := context.WithTimeout(ctx, redialTimeout)
			err := h.Connect(dial, info)
			stop()
			if err != nil {
				continue
			}
			answer, err := shake(ctx, h, self, t, info.ID, cfg.Name)
			if err == nil || !errors.Is(err, ErrWrongMesh) {
				return answer, err
			}
			last = err
		}
	}
}
