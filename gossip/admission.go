package gossip

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	helloProtocol = "/orpheus/hello/1"
)

// admission remembers which peers showed a valid member certificate. libp2p has proven their peer IDs already, so what was
// shown once holds for every connection of that peer.
//
//	connected ──hello (the dialer speaks first)──► admitted
//	    └─ no certificate within 15 s, or a bad one ──► disconnected
type admission struct {
	mesh      string
	authority *x509.Certificate
	own       certificate
	log       *slog.Logger
	admitted  func(peer.ID, claim) // called after each hello that succeeded; must not block
	evicted   func(peer.ID) bool

	mu    sync.Mutex // guards peers
	peers map[peer.ID]*standing
}

type standing struct {
	claim claim
	known chan struct{} // closed once the certificate was seen
}

func newAdmission(keys Keys, own certificate, log *slog.Logger, evicted func(peer.ID) bool, admitted func(peer.ID, claim)) (*admission, error) {
	ca, err := keys.authority()
	if err != nil {
		return nil, err
	}
	return &admission{mesh: keys.MeshID, authority: ca, own: own, log: log, admitted: admitted, evicted: evicted,
		peers: make(map[peer.ID]*standing)}, nil
}

func (a *admission) standing(id peer.ID) *standing {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.peers[id]
	if s == nil {
		s = &standing{known: make(chan struct{})}
		a.peers[id] = s
	}
	return s
}

func (a *admission) has(id peer.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.peers[id]
	return s != nil && s.seen()
}

func (s *standing) seen() bool {
	select {
	case <-s.known:
		return true
	default:
		return false
	}
}

// forget drops what was never admitted, so that strangers leave nothing behind.
func (a *admission) forget(id peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.peers[id]; s != nil && !s.seen() {
		delete(a.peers, id)
	}
}

// expel forgets one that was admitted.
func (a *admission) expel(id peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.peers, id)
}

// wait blocks until the peer is admitted, or returns why it is not.
func (a *admission) wait(ctx context.Context, id peer.ID) error {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	select {
	case <-a.standing(id).known:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("peer %s: %w", id, errNotAdmitted)
	}
}

func (a *admission) admit(id peer.ID, c certificate) error {
	cl, err := c.admits(a.authority, a.mesh, id)
	if err != nil {
		return err
	}
	if a.evicted(id) {
		return fmt.Errorf("%w: %w", errNotAdmitted, errEvicted)
	}
	s := a.standing(id)
	a.mu.Lock()
	if !s.seen() {
		s.claim = cl
		close(s.known)
	}
	a.mu.Unlock()
	a.admitted(id, cl)
	return nil
}

// greet shows our certificate on a connection that we dialed and reads theirs.
func (a *admission) greet(ctx context.Context, h host.Host, id peer.ID) error {
	ctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "hello"), helloTimeout)
	defer cancel()
	s, err := h.NewStream(ctx, id, helloProtocol)
	if err != nil {
		return fmt.Errorf("open hello to %s: %w", id, err)
	}
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	if err := writeMessage(s, a.own); err != nil {
		_ = s.Reset()
		return fmt.Errorf("send hello to %s: %w", id, err)
	}
	var theirs certificate
	if err := readMessage(s, maxHello, &theirs); err != nil {
		_ = s.Reset()
		return fmt.Errorf("read hello of %s: %w", id, err)
	}
	if _, err := theirs.admits(a.authority, a.mesh, id); err == nil && theirs.Refused == refusedEvicted {
		return errEvicted // in a member's own words
	}
	return a.admit(id, theirs)
}

// answer is the listening side of greet. Our certificate goes only to those who showed theirs.
func (a *admission) answer(s network.Stream) {
	defer s.Close()
	id := s.Conn().RemotePeer()
	err := s.SetDeadline(time.Now().Add(helloTimeout))
	var theirs certificate
	if err == nil {
		err = readMessage(s, maxHello, &theirs)
	}
	if err == nil {
		err = a.admit(id, theirs)
	}
	reply := a.own
	if errors.Is(err, errEvicted) {
		reply.Refused = refusedEvicted // it was a member, and should know
		_ = writeMessage(s, reply)
		_ = s.CloseWrite()
		_, _ = io.Copy(io.Discard, io.LimitReader(s, 1)) // until it has read that, or the deadline
	} else if err == nil {
		err = writeMessage(s, reply)
	}
	if err != nil {
		_ = s.Reset()
		if errors.Is(err, errNotAdmitted) {
			level := slog.LevelWarn
			if errors.Is(err, errEvicted) {
				level = slog.LevelDebug // it dials for as long as nobody stops it
			}
			a.log.Log(context.Background(), level, "refused a stranger", "peer", id, "addr", s.Conn().RemoteMultiaddr(), "error", err)
			_ = s.Conn().Close()
		}
	}
}
