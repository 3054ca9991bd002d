package gossip

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	checkProtocol    = "/orpheus/check/1"
	farewellProtocol = "/orpheus/farewell/1"
)

// check asks a peer over libp2p whether it lives. Every check has a stream of its own, so that a lost packet of one does not
// hold up the next. The answer carries the peer's wall clock.
func (n *link) check(id ID) {
	ctx, cancel := context.WithTimeout(n.ctx, checkTimeout)
	defer cancel()
	sent := time.Now()
	theirs, err := n.ask(ctx, id)
	if err != nil {
		return // silence is the judge's to count
	}
	received := time.Now()
	n.mesh.clocks.note(id, clockOffset(sent, received, theirs))
	n.mesh.clocks.took(id, received.Sub(sent))
	n.tell(heard{id})
}

func (n *link) ask(ctx context.Context, id ID) (time.Time, error) {
	if pid, err := peer.Decode(string(id)); err == nil && n.host.Network().Connectedness(pid) != network.Connected {
		k, _ := n.mesh.book.get(id)
		if err := n.reach(ctx, k); err != nil {
			return time.Time{}, err
		}
	}
	s, err := n.open(ctx, id, checkProtocol)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = s.Reset() }()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	if _, err := s.Write([]byte{1}); err != nil {
		return time.Time{}, err
	}
	var answer [8]byte
	if _, err := io.ReadFull(s, answer[:]); err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(answer[:]))), nil
}

func (n *link) answerCheck(s network.Stream) {
	defer s.Close()
	if s.SetDeadline(time.Now().Add(checkTimeout)) != nil {
		_ = s.Reset()
		return
	}
	var b [1]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		_ = s.Reset()
		return
	}
	_, _ = s.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli())))
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
