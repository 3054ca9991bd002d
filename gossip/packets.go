package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peerstore"
)

const serfProtocol = "/orpheus/serf/1"

// packets carries memberlist: its encrypted packets on libp2p's UDP port, its streams (push/pull, fallback pings) over
// libp2p, where the peer ID that names the member is authenticated. memberlist's packets begin with the byte 0 or 1, which
// QUIC never does. No memberlist label: its first byte (244) would look like QUIC.
type packets struct {
	conn      net.PacketConn
	advertise netip.AddrPort
	open      func(ctx context.Context, to ID, addr netip.AddrPort) (network.Stream, error)
	ring      *memberlist.Keyring
	log       *slog.Logger

	in       chan *memberlist.Packet
	streams  chan net.Conn
	received atomic.Uint64
	dropped  atomic.Uint64 // packets lost because memberlist did not keep up
	refused  atomic.Uint64 // packets sealed with our key that none of our servers sends
	done     chan struct{}
	once     sync.Once
	reader   sync.WaitGroup
}

func newPackets(conn net.PacketConn, advertise netip.AddrPort, ring *memberlist.Keyring, log *slog.Logger) *packets {
	return &packets{conn: conn, advertise: advertise, ring: ring, log: log,
		in: make(chan *memberlist.Packet, serfQueue), streams: make(chan net.Conn), done: make(chan struct{})}
}

func (p *packets) start() {
	p.reader.Add(1)
	go func() {
		defer p.reader.Done()
		p.drain()
	}()
}

// drain empties the shared port at once: quic-go queues only 32 packets there.
func (p *packets) drain() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		p.received.Add(1)
		if err := sift(p.ring.GetKeys(), buf[:n]); err != nil {
			p.refuse(from, err)
			continue
		}
		packet := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		select {
		case p.in <- packet:
		default:
			p.dropped.Add(1)
		}
	}
}

// refuse tells a person of what only somebody with the gossip key can send, ever more rarely: it may come a thousand times a second.
func (p *packets) refuse(from net.Addr, why error) {
	if errors.Is(why, errNoKey) {
		p.log.Debug("refused a packet of serf's", "from", from, "error", why)
		return
	}
	if total := p.refused.Add(1); total&(total-1) == 0 {
		p.log.Warn("refused a packet of somebody who holds the gossip key", "from", from, "error", why, "refused_so_far", total)
	}
}

func (p *packets) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return p.advertise.Addr().AsSlice(), int(p.advertise.Port()), nil
}

func (p *packets) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("send a packet: %w", err)
	}
	_, err = p.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

func (p *packets) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return p.WriteTo(b, a.Addr)
}

func (p *packets) PacketCh() <-chan *memberlist.Packet { return p.in }
func (p *packets) StreamCh() <-chan net.Conn           { return p.streams }

func (p *packets) DialTimeout(string, time.Duration) (net.Conn, error) {
	return nil, errors.New("a stream needs the member's peer ID, not only its address")
}

func (p *packets) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return nil, fmt.Errorf("dial member %s: %w", a.Name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s, err := p.open(ctx, ID(a.Name), addr)
	if err != nil {
		return nil, fmt.Errorf("dial member %s: %w", a.Name, err)
	}
	return &streamConn{Stream: s}, nil
}

func (p *packets) accept(ctx context.Context, s network.Stream) {
	select {
	case p.streams <- &streamConn{Stream: s}:
	case <-p.done:
		_ = s.Reset()
	case <-ctx.Done():
		_ = s.Reset()
	}
}

func (p *packets) Shutdown() error {
	p.once.Do(func() { close(p.done) })
	err := p.conn.Close()
	p.reader.Wait()
	return err
}

// streamConn lets memberlist use a libp2p stream as a net.Conn, and read only what begins as our servers' streams do.
type streamConn struct {
	network.Stream
	ahead  []byte // of what was looked at, and not read yet
	looked bool
	wrong  error
}

func (s *streamConn) Read(b []byte) (int, error) {
	if !s.looked {
		s.looked, s.ahead = true, make([]byte, streamHead)
		if _, s.wrong = io.ReadFull(s.Stream, s.ahead); s.wrong == nil {
			s.wrong = soundStream(s.ahead)
		}
	}
	switch {
	case s.wrong != nil:
		return 0, s.wrong
	case len(s.ahead) > 0:
		n := copy(b, s.ahead)
		s.ahead = s.ahead[n:]
		return n, nil
	}
	return s.Stream.Read(b)
}

func (s *streamConn) LocalAddr() net.Addr  { return peerAddr(s.Conn().LocalPeer().String()) }
func (s *streamConn) RemoteAddr() net.Addr { return peerAddr(s.Conn().RemotePeer().String()) }

type peerAddr string

func (peerAddr) Network() string  { return "libp2p" }
func (a peerAddr) String() string { return string(a) }

// addrTTL keeps a member's address in libp2p's book; it is refreshed by serf and by the peers file.
const addrTTL = peerstore.PermanentAddrTTL
