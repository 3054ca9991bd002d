package gossip

import (
	"context"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// earshot sees to it that gossip reaches every admitted peer that we are connected to. gossipsub gives up on a peer that stays
// connected while its streams break five times in ten minutes, as those of a daemon do that starts again and again, and when
// a peer's old process takes its connection along, gossipsub forgets what the new one has subscribed to already. Without it
// the two hear of one another's changes by reconciliation alone.
//
//	not in earshot ──2 looks──► introduced to gossipsub again, and reconciled with, at each look
//	      └─ patience is over ──► hung up on; the next check dials anew, and gossipsub starts anew
type earshot struct {
	peers map[peer.ID]*mute
}

// mute is a peer that was out of earshot.
type mute struct {
	missed   int // looks in a row without it
	heard    int // looks in a row with it
	patience int
}

func newEarshot() *earshot { return &earshot{peers: make(map[peer.ID]*mute)} }

// look takes in who is connected and whom gossip reaches, and tells whom to introduce again and whom to hang up on.
func (e *earshot) look(connected, reached []peer.ID) (introduce, hangUp []peer.ID) {
	here, hears := make(map[peer.ID]bool), make(map[peer.ID]bool)
	for _, id := range reached {
		hears[id] = true
	}
	for _, id := range connected {
		here[id] = true
		m := e.peers[id]
		if hears[id] {
			if m != nil {
				m.missed, m.heard = 0, m.heard+1
				if m.heard > m.patience {
					delete(e.peers, id)
				}
			}
			continue
		}
		if m == nil {
			m = &mute{patience: patienceLeast}
			e.peers[id] = m
		}
		m.missed, m.heard = m.missed+1, 0
		switch {
		case m.missed >= m.patience:
			m.missed, m.patience = 0, min(2*m.patience, patienceMost)
			hangUp = append(hangUp, id)
		case m.missed >= nudgeAfter:
			introduce = append(introduce, id)
		}
	}
	for id, m := range e.peers { // who is away is not out of earshot; who comes back is waited for as before
		if !here[id] {
			m.missed = 0
			if m.heard++; m.heard > m.patience {
				delete(e.peers, id)
			}
		}
	}
	return introduce, hangUp
}

// keepInEarshot looks until ctx ends.
func (s *spread) keepInEarshot(ctx context.Context) {
	e := newEarshot()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		introduce, hangUp := e.look(s.link.company(), s.topic.ListPeers())
		for _, id := range introduce {
			s.link.introduceTo(id)
			s.link.mesh.catchUp(ID(id.String()))
		}
		for _, id := range hangUp {
			s.link.mesh.log.Info("gossip does not reach a peer: connecting anew", "peer", id)
			s.link.hangUp(ID(id.String()))
		}
	}
}

// company are the admitted peers that we are connected to.
func (n *link) company() (out []peer.ID) {
	for _, id := range n.host.Network().Peers() {
		if n.host.Network().Connectedness(id) == network.Connected && n.admission.has(id) {
			out = append(out, id)
		}
	}
	return out
}

// introduceTo tells gossipsub that a peer speaks its protocol.
func (n *link) introduceTo(id peer.ID) {
	_ = n.nudge.Emit(event.EvtPeerProtocolsUpdated{Peer: id, Added: []protocol.ID{pubsub.GossipSubID_v11, pubsub.GossipSubID_v12}})
}
