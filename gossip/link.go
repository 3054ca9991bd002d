package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	hserf "github.com/hashicorp/serf/serf"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// link is everything of a running mesh that talks: the libp2p host behind its gate, serf, gossipsub. It lives as long as
// Run.
type link struct {
	mesh        *Mesh
	ctx         context.Context // ends with Run
	host        host.Host
	ports       io.Closer // the UDP sockets, which outlive the host
	gate        *gate
	admission   *admission
	packets     *packets
	serf        *hserf.Serf
	events      chan hserf.Event
	evidence    chan evidence
	spread      *spread
	nudge       event.Emitter
	rejected    atomic.Uint64 // poisonous gossip
	serving     chan struct{} // reconciliations that we serve
	ushering    chan struct{} // joins under way
	introducing chan struct{} // dials to whom serf alone knows
	ring        *memberlist.Keyring
	checks      keptStreams

	mu    sync.Mutex // guards ended against work.Add
	ended bool
	work  sync.WaitGroup
}

// begin registers a piece of work that end waits for; false when the mesh is ending.
func (n *link) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return false
	}
	n.work.Add(1)
	return true
}

// do runs f in a goroutine that end waits for.
func (n *link) do(f func()) {
	if !n.begin() {
		return
	}
	go func() {
		defer n.work.Done()
		f()
	}()
}

func (m *Mesh) connect(ctx context.Context) (_ *link, err error) {
	n := &link{mesh: m, ctx: ctx, events: make(chan hserf.Event, serfQueue), evidence: make(chan evidence, evidenceQueue),
		serving: make(chan struct{}, maxServed), ushering: make(chan struct{}, maxUshered),
		introducing: make(chan struct{}, maxIntroduced), checks: keptStreams{by: make(map[ID]network.Stream)}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.end())
		}
	}()
	if n.admission, err = newAdmission(m.keys, m.cert, m.log, func(id peer.ID) bool { return m.Evicted(ID(id.String())) }, n.admitted); err != nil {
		return nil, err
	}
	h, udp, ports, err := newHost(m.cfg, m.self, m.advertise)
	if err != nil {
		return nil, err
	}
	n.host, n.ports, n.gate = h, ports, &gate{Host: h, admission: n.admission}
	if n.nudge, err = h.EventBus().Emitter(new(event.EvtPeerProtocolsUpdated)); err != nil {
		return nil, err
	}
	if n.ring, err = memberlist.NewKeyring(m.keys.Gossip, m.keys.Gossip[0]); err != nil {
		return nil, fmt.Errorf("start serf: gossip keys: %w", err)
	}
	n.packets = newPackets(udp, m.advertise, n.ring, m.log)
	n.packets.open = n.openAt
	n.packets.start()
	n.host.Network().Notify(&network.NotifyBundle{ConnectedF: n.connected, DisconnectedF: n.disconnected})
	n.host.SetStreamHandler(helloProtocol, n.admission.answer)
	n.host.SetStreamHandler(joinProtocol, n.usher)
	n.gate.SetStreamHandler(serfProtocol, func(s network.Stream) { n.packets.accept(ctx, s) })
	if n.serf, err = newSerf(m.cfg, n.ring, m.self.ID(), n.packets, n.events); err != nil {
		return nil, err
	}
	if n.spread, err = newSpread(ctx, n); err != nil {
		return nil, err
	}
	n.register(checkProtocol, n.answerChecks)
	n.register(farewellProtocol, n.takeFarewell)
	n.register(reconcileProtocol, n.serveReconcile)
	return n, nil
}

// end closes everything in the reverse order and waits for all goroutines of the link.
func (n *link) end() error {
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	var errs []error
	if n.serf != nil {
		errs = append(errs, n.serf.Shutdown())
	} else if n.packets != nil {
		errs = append(errs, n.packets.Shutdown())
	}
	if n.nudge != nil {
		errs = append(errs, n.nudge.Close())
	}
	if n.host != nil {
		errs = append(errs, n.host.Close(), n.ports.Close())
	}
	n.work.Wait()
	return errors.Join(errs...)
}

// connected starts the hello on connections that we dialed and lets go of strangers that never say one.
func (n *link) connected(_ network.Network, c network.Conn) {
	id := c.RemotePeer()
	n.do(func() {
		if c.Stat().Direction == network.DirOutbound {
			begun := time.Now()
			err := n.admission.greet(n.ctx, n.host, id)
			if err == nil {
				n.mesh.clocks.seems(ID(id.String()), time.Since(begun))
			}
			if errors.Is(err, errEvicted) && !n.mesh.banished.Swap(true) {
				n.mesh.log.Error("the mesh refuses this server", "peer", id, "error", errEvicted)
			}
			if err != nil {
				n.mesh.log.Debug("hello failed", "peer", id, "addr", c.RemoteMultiaddr(), "error", err)
				_ = c.Close()
			}
			return
		}
		wait := time.NewTimer(strangerSpan)
		defer wait.Stop()
		select {
		case <-n.admission.standing(id).known:
		case <-wait.C:
			_ = c.Close()
		case <-n.ctx.Done():
		}
	})
}

func (n *link) disconnected(nw network.Network, c network.Conn) {
	if nw.Connectedness(c.RemotePeer()) == network.NotConnected {
		n.admission.forget(c.RemotePeer())
	}
}

// admitted is told of every hello that succeeded.
func (n *link) admitted(id peer.ID, c claim) {
	n.host.ConnManager().Protect(id, "member")
	n.mesh.book.learn(known{ID: c.Peer, Name: c.Name})
	n.tell(met{c.Peer})
	n.tell(heard{c.Peer})
	// gossipsub may have tried before the hello was over; tell it that the peer speaks its protocol now.
	n.do(func() { n.introduceTo(id) })
}

// tell hands evidence to the judge. It never blocks: the queue is as long as a burst can be, and evidence repeats.
func (n *link) tell(e evidence) {
	select {
	case n.evidence <- e:
	default:
		n.mesh.log.Warn("dropped evidence about a peer: the judge does not keep up")
	}
}

// openAt opens serf's streams to a member whose address serf knows.
func (n *link) openAt(ctx context.Context, to ID, addr netip.AddrPort) (network.Stream, error) {
	n.place(to, addr)
	return n.open(ctx, to, serfProtocol)
}

// place tells libp2p where a member is.
func (n *link) place(id ID, addr netip.AddrPort) {
	pid, err := peer.Decode(string(id))
	if err != nil || !addr.IsValid() {
		return
	}
	addrs := multiaddrs(addr)
	book := n.host.Peerstore()
	if have := book.Addrs(pid); len(have) != len(addrs) || !have[0].Equal(addrs[0]) && !have[0].Equal(addrs[1]) {
		book.ClearAddrs(pid)
	}
	book.AddAddrs(pid, addrs, addrTTL)
}

// reach connects to a peer now, whatever earlier failures say, and waits until it is admitted.
func (n *link) reach(ctx context.Context, k known) error {
	pid, err := peer.Decode(string(k.ID))
	if err != nil {
		return err
	}
	n.place(k.ID, k.Addr)
	if s, ok := n.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(pid)
	}
	if err := n.host.Connect(ctx, peer.AddrInfo{ID: pid}); err != nil {
		return err
	}
	return n.admission.wait(ctx, pid)
}
