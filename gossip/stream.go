package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Stream is a two-way byte stream to a member, encrypted and authenticated by libp2p. Close ends both directions in order,
// CloseWrite only ours, Reset at once. Its reads and writes block without bound unless a deadline is set.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
	Reset() error
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// ErrNotRunning: the mesh does not run (yet, or any more).
var ErrNotRunning = errors.New("the mesh is not running")

// Handle serves a protocol ("/orpheus/NAME/1") for admitted members; it may be called before and during Run. The handler
// runs in a goroutine of its own, owns the stream until it returns, and its context ends with Run.
func (m *Mesh) Handle(protocol string, h func(ctx context.Context, from ID, s Stream)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handlers[protocol] = h
	if m.net != nil {
		m.net.register(protocol, h)
	}
}

// Dial opens a stream to a member over the connection that exists, or a new one. Without a deadline in ctx it takes at most
// 5 s. The context bounds only the opening.
func (m *Mesh) Dial(ctx context.Context, to ID, protocol string) (Stream, error) {
	n := m.link()
	if n == nil {
		return nil, fmt.Errorf("dial %s at %s: %w", protocol, to, ErrNotRunning)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialTimeout)
		defer cancel()
	}
	s, err := n.open(ctx, to, protocol)
	if err != nil {
		return nil, fmt.Errorf("dial %s at %s: %w", protocol, to, err)
	}
	return s, nil
}

func (n *link) open(ctx context.Context, to ID, proto string) (network.Stream, error) {
	id, err := peer.Decode(string(to))
	if err != nil {
		return nil, fmt.Errorf("read peer ID: %w", err)
	}
	return n.gate.NewStream(ctx, id, protocol.ID(proto))
}

// register puts a handler behind the gate. Streams that arrive while the mesh ends are reset.
func (n *link) register(proto string, h func(context.Context, ID, Stream)) {
	n.gate.SetStreamHandler(protocol.ID(proto), func(s network.Stream) {
		if !n.begin() {
			_ = s.Reset()
			return
		}
		defer n.work.Done()
		h(n.ctx, ID(s.Conn().RemotePeer().String()), s)
	})
}
