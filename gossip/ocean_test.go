package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	hserf "github.com/hashicorp/serf/serf"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// ocean is a mesh of real serfs and real judges over a network that is not there, under virtual time: what servers believe of one
// another at sizes that no test machine holds.
type ocean struct {
	t   *testing.T
	all []*island
	at  map[netip.AddrPort]*island

	mu    sync.Mutex // guards what is below
	rng   *rand.Rand
	loss  float64
	apart func(a, b *island) bool // whose packets are lost; nil: nobody's
	sent  int                     // packets
	bytes int
}

// island is one server: as much of one as decides who is there.
type island struct {
	o      *ocean
	n      int
	id     ID
	addr   netip.AddrPort
	port   *port
	way    *packets
	serf   *hserf.Serf
	events chan hserf.Event
	said   chan evidence
	ended  chan struct{}
	quit   chan struct{}

	redialling sync.WaitGroup
	joining    chan struct{} // holds one while it joins: who waits for serf's own mutex would hold up virtual time

	mu      sync.Mutex // guards what is below
	off     bool       // it lost power
	stalled time.Time  // until when it stands still
	states  map[ID]State
	since   map[ID]time.Time
	deaths  map[ID]int // verdicts
}

const hop = 2 * time.Millisecond

// newOcean has n servers join, one after the other, by one that is there. What failed is forgotten by serf after the time given; 0: as usual.
func newOcean(t *testing.T, n int, keep time.Duration) *ocean {
	o := &ocean{t: t, rng: rand.New(rand.NewPCG(uint64(n), 1)), at: map[netip.AddrPort]*island{}}
	ring, err := memberlist.NewKeyring(nil, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := &island{o: o, n: i, id: ID(fmt.Sprintf("n%04d", i)), addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), DefaultPort),
			events: make(chan hserf.Event, 8192), said: make(chan evidence, 8192), ended: make(chan struct{}), quit: make(chan struct{}), joining: make(chan struct{}, 1),
			states: map[ID]State{}, since: map[ID]time.Time{}, deaths: map[ID]int{}}
		s.port = &port{s: s, in: make(chan datagram, 4096), shut: make(chan struct{})}
		s.way = newPackets(s.port, s.addr, ring, slog.New(slog.DiscardHandler))
		s.way.open = s.stream
		o.all, o.at[s.addr] = append(o.all, s), s
	}
	for _, s := range o.all {
		s.way.start()
		if s.serf, err = newSerf(Config{Name: string(s.id), Listen: s.addr, keep: keep, Log: slog.New(slog.DiscardHandler)}, ring, s.id, s.way, s.events); err != nil {
			t.Fatal(err)
		}
		go s.judge()
		s.redialling.Go(s.redial)
		if s.n > 0 { // it joins by one that is there
			if _, err := s.serf.Join([]string{s.hail(o.all[o.rng.IntN(s.n)])}, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	return o
}

func (o *ocean) end() {
	for _, s := range o.all {
		close(s.quit)
		if err := s.serf.Shutdown(); err != nil {
			o.t.Error(err)
		}
		<-s.ended
		s.redialling.Wait()
	}
	time.Sleep(time.Minute) // for dials to whom nobody answers
}

func (s *island) hail(other *island) string { return string(other.id) + "/" + other.addr.String() }

// passes tells whether something gets through now, and when.
func (o *ocean) passes(a, b *island, size int) (after time.Duration, ok bool) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent++
	o.bytes += size
	if o.loss > 0 && o.rng.Float64() < o.loss || o.apart != nil && o.apart(a, b) {
		return 0, false
	}
	after = hop/2 + time.Duration(o.rng.Int64N(int64(hop)))
	for _, s := range []*island{a, b} {
		s.mu.Lock()
		if s.off {
			ok = true // nobody is there
		} else if wait := s.stalled.Sub(now); wait > after {
			after = wait
		}
		s.mu.Unlock()
		if ok {
			return 0, false
		}
	}
	return after, true
}

// port is an island's UDP port.
type port struct {
	s    *island
	in   chan datagram
	shut chan struct{}
	once sync.Once
}

type datagram struct {
	b    []byte
	from net.Addr
}

func (p *port) WriteTo(b []byte, to net.Addr) (int, error) {
	other := p.s.o.at[plain(to.(*net.UDPAddr))]
	if after, ok := p.s.o.passes(p.s, other, len(b)); ok {
		d := datagram{append([]byte(nil), b...), net.UDPAddrFromAddrPort(p.s.addr)}
		time.AfterFunc(after, func() {
			select {
			case other.port.in <- d:
			default: // it does not keep up
			}
		})
	}
	return len(b), nil
}

func (p *port) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		return copy(b, d.b), d.from, nil
	case <-p.shut:
		return 0, nil, net.ErrClosed
	}
}

func (p *port) Close() error                     { p.once.Do(func() { close(p.shut) }); return nil }
func (p *port) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(p.s.addr) }
func (p *port) SetDeadline(time.Time) error      { return nil }
func (p *port) SetReadDeadline(time.Time) error  { return nil }
func (p *port) SetWriteDeadline(time.Time) error { return nil }

// stream is what libp2p would open.
func (s *island) stream(ctx context.Context, _ ID, addr netip.AddrPort) (network.Stream, error) {
	other := s.o.at[addr]
	after, ok := s.o.passes(s, other, 0)
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	mine, theirs := net.Pipe()
	go other.way.accept(context.Background(), pipe{end: theirs, ends: ends{near: other.id, far: s.id}})
	return pipe{end: mine, ends: ends{near: s.id, far: other.id}}, nil
}

// pipe is a network.Stream as far as memberlist needs one.
type pipe struct {
	network.Stream
	end  net.Conn
	ends ends
}

func (p pipe) Read(b []byte) (int, error)         { return p.end.Read(b) }
func (p pipe) Write(b []byte) (int, error)        { return p.end.Write(b) }
func (p pipe) Close() error                       { return p.end.Close() }
func (p pipe) Reset() error                       { return p.end.Close() }
func (p pipe) SetDeadline(t time.Time) error      { return p.end.SetDeadline(t) }
func (p pipe) SetReadDeadline(t time.Time) error  { return p.end.SetReadDeadline(t) }
func (p pipe) SetWriteDeadline(t time.Time) error { return p.end.SetWriteDeadline(t) }
func (p pipe) Conn() network.Conn                 { return p.ends }

// ends are those of a pipe.
type ends struct {
	network.Conn
	near, far ID
}

func (e ends) LocalPeer() peer.ID  { return peer.ID(e.near) }
func (e ends) RemotePeer() peer.ID { return peer.ID(e.far) }

// judge runs an island's judge as the mesh does: with serf's events, its own checks and a tick every 100 ms.
func (s *island) judge() {
	defer close(s.ended)
	j := newJudge(s.id, time.Now())
	ticker := time.NewTicker(judgeEvery)
	defer ticker.Stop()
	for {
		var e evidence
		select {
		case <-s.quit:
			return
		case <-ticker.C:
			if s.still() {
				continue
			}
			e = tick{score: s.serf.Memberlist().GetHealthScore()}
		case e = <-s.said:
		case raw := <-s.events:
			s.serfSays(j, raw)
			continue
		}
		s.conclude(j.Step(time.Now(), e))
	}
}

// still tells whether it stands still, or is off.
func (s *island) still() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.off || s.stalled.After(time.Now())
}

func (s *island) serfSays(j *judge, raw hserf.Event) {
	e, ok := raw.(hserf.MemberEvent)
	if !ok {
		return
	}
	hint, ok := map[hserf.EventType]hint{hserf.EventMemberJoin: hintAlive, hserf.EventMemberUpdate: hintAlive,
		hserf.EventMemberFailed: hintFailed, hserf.EventMemberLeave: hintLeft}[e.Type]
	for _, m := range e.Members {
		if id := ID(m.Name); id != s.id && ok {
			s.conclude(j.Step(time.Now(), met{id}))
			s.conclude(j.Step(time.Now(), hinted{id, hint}))
		}
	}
}

func (s *island) conclude(v verdicts) {
	for _, id := range v.check {
		s.check(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range v.changed {
		s.states[c.peer], s.since[c.peer] = c.to, time.Now()
		if c.to == Failed {
			s.deaths[c.peer]++
		}
	}
}

// check asks a peer over a stream: a lost packet costs it a resend and no more. The answer tells the one, the thanks the other.
func (s *island) check(id ID) {
	var n int
	if _, err := fmt.Sscanf(string(id), "n%d", &n); err != nil {
		s.o.t.Error(err)
		return
	}
	other := s.o.all[n]
	there, ok := s.o.reliable(s, other)
	back, also := s.o.reliable(other, s)
	if !ok || !also || there+back > checkTimeout {
		return
	}
	time.AfterFunc(there+back, func() { s.hears(heard{id}) })
	time.AfterFunc(2*there+back, func() { other.hears(heard{s.id}) })
}

func (s *island) hears(e evidence) {
	if s.still() {
		return
	}
	select {
	case s.said <- e:
	default:
	}
}

// reliable is passes of what is sent again after 300 ms, 600 ms … when it is lost.
func (o *ocean) reliable(a, b *island) (time.Duration, bool) {
	late := time.Duration(0)
	for resend := 300 * time.Millisecond; late < checkTimeout; resend *= 2 {
		if after, ok := o.passes(a, b, 60); ok {
			return late + after, true
		}
		late += resend
	}
	return 0, false
}

// redial reaches for whom serf does not have and was there before, as the mesh does.
func (s *island) redial() {
	ticker := time.NewTicker(redialTick)
	defer ticker.Stop()
	next := map[ID]time.Time{}
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
		}
		if s.still() {
			continue
		}
		members := s.serf.Memberlist().Members()
		if len(members) == len(s.o.all) {
			continue
		}
		there := map[ID]bool{}
		for _, m := range members {
			there[ID(m.Name)] = true
		}
		for _, x := range s.o.all {
			if x == s || there[x.id] || time.Now().Before(next[x.id]) {
				continue
			}
			s.mu.Lock()
			_, known := s.states[x.id]
			lost := time.Since(s.since[x.id])
			s.mu.Unlock()
			if !known {
				continue
			}
			next[x.id] = time.Now().Add(redialWait(lost, .5))
			_, out := s.o.reliable(s, x)
			if _, back := s.o.reliable(x, s); !out || !back {
				continue
			}
			s.hears(met{x.id})
			s.hears(heard{x.id})
			s.redialling.Go(func() {
				s.joining <- struct{}{}
				_, _ = s.serf.Join([]string{s.hail(x)}, true) // tried again
				<-s.joining
			})
		}
	}
}

// believed counts the states that servers that run see others in.
func (o *ocean) believed(of func(*island) bool) (count map[State]int) {
	count = map[State]int{}
	for _, s := range o.all {
		if s.still() {
			continue
		}
		s.mu.Lock()
		for _, x := range o.all {
			if x == s || !of(x) {
				continue
			}
			st, is := s.states[x.id]
			if !is {
				st = Suspect
			}
			count[st]++
		}
		s.mu.Unlock()
	}
	return count
}

// agreed tells whether every server that runs sees all others so. It stops at the first that does not.
func (o *ocean) agreed(want State, of func(*island) bool) bool {
	for _, s := range o.all {
		if s.still() {
			continue
		}
		s.mu.Lock()
		for _, x := range o.all {
			if st, is := s.states[x.id]; x != s && of(x) && (!is || st != want) {
				s.mu.Unlock()
				return false
			}
		}
		s.mu.Unlock()
	}
	return true
}

// until lets time go by until all that run see all others alike.
func (o *ocean) until(within time.Duration, want State, of func(*island) bool) (time.Duration, error) {
	began := time.Now()
	for time.Since(began) < within {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if o.agreed(want, of) {
			return time.Since(began), nil
		}
	}
	return within, errors.New(fmt.Sprint(o.believed(of)))
}

// sizes are those of CI, or what OCEAN says.
func sizes(t *testing.T) []int {
	if text := os.Getenv("OCEAN"); text != "" {
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		return []int{n}
	}
	if raced {
		return []int{20}
	}
	return []int{50, 200}
}
