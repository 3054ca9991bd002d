package gossip

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	checkProtocol    = "/orpheus/check/1"
	farewellProtocol = "/orpheus/farewell/1"
)

// check asks a peer over libp2p whether it lives, and thanks for the answer, so that one round tells both of them. A stream that
// served a round is kept for the next one. While a round waits, others have streams of their own: a lost packet of one does not hold up
// the next. The answer and the thanks carry the wall clocks.
func (n *link) check(id ID) {
	ctx, cancel := context.WithTimeout(n.ctx, checkTimeout)
	defer cancel()
	_ = n.ask(ctx, id) // silence is the judge's to count
}

func (n *link) ask(ctx context.Context, id ID) error {
	if s := n.checks.take(id); s != nil && n.round(ctx, s, id) == nil {
		return nil
	}
	s, err := n.openCheck(ctx, id)
	if err != nil {
		return err
	}
	return n.round(ctx, s, id)
}

func (n *link) openCheck(ctx context.Context, id ID) (network.Stream, error) {
	if pid, err := peer.Decode(string(id)); err == nil && n.host.Network().Connectedness(pid) != network.Connected {
		k, _ := n.mesh.book.get(id)
		if err := n.reach(ctx, k); err != nil {
			return nil, err
		}
	}
	return n.open(ctx, id, checkProtocol)
}

// round asks over a stream, which it keeps or resets.
func (n *link) round(ctx context.Context, s network.Stream, id ID) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	sent := time.Now()
	_, err := s.Write([]byte{1})
	if err == nil {
		err = n.hear(s, id, sent)
	}
	if err == nil {
		err = tellTime(s)
	}
	if !stop() || err != nil {
		_ = s.Reset()
		return errors.Join(err, ctx.Err())
	}
	n.checks.keep(id, s)
	return nil
}

// answerChecks serves a peer's rounds until it ends the stream, or leaves it alone for a minute.
func (n *link) answerChecks(_ context.Context, from ID, s Stream) {
	for {
		if s.SetDeadline(time.Now().Add(checkIdle)) != nil {
			break
		}
		var b [1]byte
		if _, err := io.ReadFull(s, b[:]); err != nil || s.SetDeadline(time.Now().Add(checkTimeout)) != nil {
			break
		}
		sent := time.Now()
		if tellTime(s) != nil || n.hear(s, from, sent) != nil {
			break
		}
	}
	_ = s.Reset()
}

// tellTime says what our wall clock shows.
func tellTime(s io.Writer) error {
	_, err := s.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli())))
	return err
}

// hear takes the peer's wall clock in reply to what was sent: it lives, and hears us.
func (n *link) hear(s io.Reader, id ID, sent time.Time) error {
	var clock [8]byte
	if _, err := io.ReadFull(s, clock[:]); err != nil {
		return err
	}
	received, theirs := time.Now(), time.UnixMilli(int64(binary.BigEndian.Uint64(clock[:])))
	n.mesh.clocks.note(id, clockOffset(sent, received, theirs))
	n.mesh.clocks.took(id, received.Sub(sent))
	n.tell(heard{id})
	return nil
}

// keptStreams holds for each peer the stream of the last round that was answered.
type keptStreams struct {
	mu sync.Mutex // guards by
	by map[ID]network.Stream
}

func (k *keptStreams) take(id ID) network.Stream {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.by[id]
	delete(k.by, id)
	return s
}

func (k *keptStreams) keep(id ID, s network.Stream) {
	k.mu.Lock()
	old := k.by[id]
	k.by[id] = s
	k.mu.Unlock()
	if old != nil {
		_ = old.Reset()
	}
}

// What a farewell says.
const (
	restarting = 1 // back in a moment: silence moves nothing for 15 s. Containers outlive the daemon; a restart is no death
	leaving    = 2 // gone for good. serf says so too, but by single packets that may be lost or come in the wrong order
)

// farewell tells all connected peers that, and why, this daemon will be silent.
func (n *link) farewell(word byte) {
	ctx, cancel := context.WithTimeout(context.Background(), farewellTimeout)
	defer cancel()
	done := make(chan struct{})
	peers := n.host.Network().Peers()
	for _, pid := range peers {
		go func() {
			defer func() { done <- struct{}{} }()
			if s, err := n.open(ctx, ID(pid.String()), farewellProtocol); err == nil {
				_ = s.SetDeadline(time.Now().Add(farewellTimeout))
				_, _ = s.Write([]byte{word})
				_, _ = io.ReadFull(s, make([]byte, 1))
				_ = s.Close()
			}
		}()
	}
	for range peers {
		<-done
	}
}

func (n *link) takeFarewell(_ context.Context, from ID, s Stream) {
	defer s.Close()
	if s.SetDeadline(time.Now().Add(checkTimeout)) != nil {
		return
	}
	var b [1]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return
	}
	if b[0] == leaving {
		n.tell(departed{from})
	} else {
		n.tell(farewell{from})
	}
	_, _ = s.Write(b[:])
}
