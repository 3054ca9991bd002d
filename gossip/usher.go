package gossip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
)

// usher is the member's side of a join. It is the one protocol besides hello that strangers may speak.
func (n *link) usher(s network.Stream) {
	defer s.Close()
	if !n.begin() {
		_ = s.Reset()
		return
	}
	defer n.work.Done()
	select {
	case n.ushering <- struct{}{}:
		defer func() { <-n.ushering }()
	default:
		_ = s.Reset()
		return
	}
	id := ID(s.Conn().RemotePeer().String())
	name, err := n.welcome(s, id)
	if err != nil {
		n.mesh.log.Warn("refused to admit a server", "peer", id, "name", name, "addr", s.Conn().RemoteMultiaddr(), "error", err)
		return
	}
	n.mesh.log.Info("admitted a new member", "peer", id, "name", name, "addr", s.Conn().RemoteMultiaddr())
}

func (n *link) welcome(s network.Stream, id ID) (string, error) {
	ctx, cancel := context.WithTimeout(n.ctx, joinTimeout)
	defer cancel()
	if err := s.SetDeadline(time.Now().Add(joinTimeout)); err != nil {
		return "", err
	}
	if err := n.showProof(s); err != nil {
		_ = s.Reset()
		return "", fmt.Errorf("prove ourselves: %w", err)
	}
	var plea joinPlea
	if err := readMessage(s, maxHello, &plea); err != nil {
		_ = s.Reset()
		return "", fmt.Errorf("it did not ask after our proof: %w", err)
	}
	answer, err := n.consider(ctx, id, plea)
	if err != nil {
		answer = refusal(err)
	}
	if werr := writeMessage(s, answer); err == nil && werr != nil {
		err = fmt.Errorf("send the keys: %w", werr)
	}
	return plea.Name, err
}

func (n *link) showProof(s network.Stream) error {
	m := n.mesh
	var ask joinAsk
	if err := readMessage(s, maxHello, &ask); err != nil {
		return err
	}
	if len(ask.Nonce) != 32 {
		return errors.New("its nonce does not have 32 bytes")
	}
	nonce := make([]byte, 32)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	sig, err := m.self.key.Sign(transcript(m.keys.MeshID, m.self.id, s.Conn().RemotePeer(), ask.Nonce, nonce))
	if err != nil {
		return err
	}
	return writeMessage(s, joinProof{CA: m.keys.CACert, Certificate: m.cert, Nonce: nonce, Signature: sig})
}

// consider redeems the token and grants what a member needs.
func (n *link) consider(ctx context.Context, id ID, plea joinPlea) (joinAnswer, error) {
	m := n.mesh
	if plea.Name == "" || len(plea.Name) > maxName {
		return joinAnswer{}, fmt.Errorf("its host name has %d bytes instead of 1 to %d", len(plea.Name), maxName)
	}
	if m.Evicted(id) {
		return joinAnswer{}, errEvicted
	}
	for _, p := range m.Members() {
		if p.Name == plea.Name && p.ID != id && (p.State == Alive || p.State == Suspect) {
			return joinAnswer{}, ErrNameTaken
		}
	}
	now := time.Now()
	if err := redeem(ctx, m.store, plea.Secret, id, now); err != nil {
		return joinAnswer{}, err
	}
	cert, err := m.keys.issue(id, plea.Name, now)
	if err != nil {
		return joinAnswer{}, err
	}
	self := m.Self()
	peers := append(m.book.all(), known{ID: self.ID, Name: self.Name, Addr: self.Addr, Region: self.Region, Zone: self.Zone})
	peers = slices.DeleteFunc(peers, func(k known) bool { return k.ID == id })
	return joinAnswer{Keys: m.keys, Certificate: cert, Peers: peers}, nil
}

func refusal(err error) joinAnswer {
	for code, known := range refusals {
		if errors.Is(err, known) {
			return joinAnswer{Refused: code}
		}
	}
	return joinAnswer{Refused: "unable", Detail: err.Error()}
}

// tokenAddrs are the ways to reach this node that a token carries.
func (m *Mesh) tokenAddrs() []ma.Multiaddr { return multiaddrs(m.advertise) }
