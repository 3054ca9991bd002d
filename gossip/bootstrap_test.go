package gossip

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// gauge stands before a server's end of the reconciliations that others ask for, and counts what they carry.
type gauge struct {
	mu     sync.Mutex   // guards what follows
	asked  map[ID]int   // by whom, and how often
	served map[ID]int   // of these, those that are being answered
	most   int          // peers that were being answered at the same time
	sent   map[ID]int64 // bytes, to whom
	got    map[ID]int64

	refuse  bool        // everybody
	onAsk   func()      // after each question, with mu held; nil: nothing
	onWrite func(to ID) // before each write; nil: nothing
}

func gauged(m *Mesh) *gauge {
	g := &gauge{asked: map[ID]int{}, served: map[ID]int{}, sent: map[ID]int64{}, got: map[ID]int64{}}
	m.Handle(reconcileProtocol, func(ctx context.Context, from ID, s Stream) {
		refuse := false
		g.at(func() {
			g.asked[from]++
			refuse = g.refuse
			if g.onAsk != nil {
				g.onAsk()
			}
		})
		if refuse {
			_ = s.Reset()
			return
		}
		one := &gaugedStream{Stream: s, gauge: g, peer: from}
		m.link().serveReconcile(ctx, from, one)
		one.over()
	})
	return g
}

func (g *gauge) at(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

type gaugedStream struct {
	Stream
	gauge    *gauge
	peer     ID
	answered bool
}

func (s *gaugedStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	s.gauge.at(func() { s.gauge.got[s.peer] += int64(n) })
	return n, err
}

func (s *gaugedStream) Write(p []byte) (int, error) {
	g := s.gauge
	g.at(func() {
		if !s.answered {
			s.answered = true
			g.served[s.peer]++
			g.most = max(g.most, len(g.served))
		}
	})
	if g.onWrite != nil {
		g.onWrite(s.peer)
	}
	n, err := s.Stream.Write(p)
	g.at(func() { g.sent[s.peer] += int64(n) })
	return n, err
}

func (s *gaugedStream) over() {
	g := s.gauge
	g.at(func() {
		if !s.answered {
			return
		}
		if g.served[s.peer]--; g.served[s.peer] == 0 {
			delete(g.served, s.peer)
		}
	})
}

// laden writes many objects and returns how many bytes a snapshot of the store has: what a joiner must get.
func laden(t *testing.T, s *server) int64 {
	t.Helper()
	var work sync.WaitGroup
	body := bytes.Repeat([]byte("what a joiner has to be sent. "), 400)
	for w := range 16 {
		work.Go(func() {
			for i := range 25 {
				key := store.Key{Kind: thing.Kind, Name: fmt.Sprintf("many-%d-%d", w, i)}
				if _, err := s.Store().Write(t.Context(), store.Write{Key: key, Body: body}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	var size counter
	if _, err := s.Store().Snapshot(t.Context(), &size); err != nil {
		t.Fatal(err)
	}
	return int64(size)
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// arriving joins a server and runs it without waiting until it is ready.
func arriving(t *testing.T, name, token string, prepare func(cfg *Config)) (*server, *gauge) {
	t.Helper()
	cfg := configure(t, name)
	if prepare != nil {
		prepare(&cfg)
	}
	if err := Join(t.Context(), cfg, token); err != nil {
		t.Fatal(err)
	}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := gauged(m)
	return launch(t, cfg, m), g
}

// Three servers join one that has much to tell: it tells two of them at a time, the third one waits, and nobody is sent the store twice,
// whoever asked.
func TestJoinersAreServedTwoAtATime(t *testing.T) {
	first := found1(t, "n0")
	size := laden(t, first)
	full := gauged(first.Mesh)
	met := make(chan struct{})
	open := sync.OnceFunc(func() { close(met) })
	look := func() {
		if len(full.asked) == 3 && len(full.served) >= maxServed {
			open()
		}
	}
	full.onAsk = look
	full.onWrite = func(ID) { // nobody is told anything before the third one asked, and as many as may be are served
		full.at(look)
		select {
		case <-met:
		case <-time.After(15 * time.Second):
			t.Error("three servers join, and not all of them ask the one that is full, or fewer are served than may be")
		}
	}
	gauges := []*gauge{full}
	all := []*server{first}
	for i := range 3 {
		s, g := arriving(t, fmt.Sprintf("n%d", i+1), first.token(), nil)
		all, gauges = append(all, s), append(gauges, g)
	}
	for _, s := range all {
		s.awaitReady()
	}
	agree(t, 20*time.Second, all...)
	full.at(func() {
		if full.most != maxServed {
			t.Errorf("%d joiners were served at the same time, want %d", full.most, maxServed)
		}
	})
	for i, s := range all[1:] {
		if got := carried(gauges, i+1, s.Self().ID); got > size*5/4 {
			t.Errorf("%s was sent %d bytes for a store of %d", s.cfg.Name, got, size)
		}
	}
}

// carried is how many bytes reconciliations brought to a server: to its own questions, and with those that others asked it.
func carried(gauges []*gauge, own int, id ID) (n int64) {
	for i, g := range gauges {
		g.at(func() {
			if i != own {
				n += g.sent[id]
				return
			}
			for _, k := range g.got {
				n += k
			}
		})
	}
	return n
}

// A bootstrap whose connection is cut goes on where it was: what had arrived is not sent again.
func TestABootstrapGoesOnWhereItBrokeOff(t *testing.T) {
	first := found1(t, "n0")
	size := laden(t, first)
	full := gauged(first.Mesh)
	cuts := 0
	full.onWrite = func(to ID) {
		cut := false
		full.at(func() {
			if cut = cuts < 2 && full.sent[to] > size*int64(cuts+1)/3; cut {
				cuts++
			}
		})
		if id, err := peer.Decode(string(to)); cut && err == nil {
			_ = first.link().host.Network().ClosePeer(id)
		}
	}
	s, g := arriving(t, "n1", first.token(), nil)
	s.awaitReady()
	agree(t, 20*time.Second, first, s)
	id := s.Self().ID
	full.at(func() {
		if cuts != 2 || full.asked[id] < 3 {
			t.Errorf("%d cuts and %d questions: was it cut at all?", cuts, full.asked[id])
		}
	})
	// What was under way at a cut, the window of a stream, may be sent again.
	if got := carried([]*gauge{full, g}, 1, id); got > size*5/4 {
		t.Errorf("sent %d bytes in all, for a store of %d: it did not go on where it was", got, size)
	}
}

// The store comes from the server with the shortest round trip, also where another one was met first.
func TestTheStoreComesFromNearby(t *testing.T) {
	all := cluster(t, 2)
	near, far := all[0], all[1]
	size := laden(t, near)
	agree(t, 20*time.Second, near, far)
	n, f := gauged(near.Mesh), gauged(far.Mesh)
	met := make(chan struct{})
	s, _ := arriving(t, "n2", far.token(), func(cfg *Config) {
		cfg.wire.delay(func(to netip.AddrPort) time.Duration {
			if to == far.Self().Addr {
				return 40 * time.Millisecond
			}
			return 0
		})
		cfg.wire.set(func(to netip.AddrPort) bool { // the near one is heard of later
			select {
			case <-met:
				return false
			default:
				return to == near.Self().Addr
			}
		})
	})
	s.await(far, Alive, 10*time.Second)
	close(met)
	s.awaitReady()
	agree(t, 20*time.Second, near, s)
	from := func(g *gauge) (n int64) {
		g.at(func() { n = g.sent[s.Self().ID] })
		return n
	}
	if from(n) < size || from(f) > size/10 {
		t.Errorf("%d bytes came from nearby and %d from far away, for a store of %d", from(n), from(f), size)
	}
}

// One that does not answer is passed over at once, although it is the nearest.
func TestTheNextNearestServesInItsPlace(t *testing.T) {
	all := cluster(t, 2)
	size := laden(t, all[0])
	agree(t, 20*time.Second, all...)
	n, f := gauged(all[0].Mesh), gauged(all[1].Mesh)
	n.refuse = true
	before := 0 // how often the nearest was asked when the next one answered
	look := sync.OnceFunc(func() {
		n.at(func() {
			for _, k := range n.asked {
				before = k
			}
		})
	})
	f.onWrite = func(ID) { look() }
	s, _ := arriving(t, "n2", all[0].token(), func(cfg *Config) {
		cfg.wire.delay(func(to netip.AddrPort) time.Duration {
			if to == all[1].Self().Addr {
				return 40 * time.Millisecond
			}
			return 0
		})
	})
	s.awaitReady()
	agree(t, 20*time.Second, all[1], s)
	id := s.Self().ID
	if before != 1 {
		t.Errorf("the nearest one, which refuses, was asked %d times before the next", before)
	}
	f.at(func() {
		if f.sent[id] < size {
			t.Errorf("the next one sent %d bytes of %d", f.sent[id], size)
		}
	})
}

// A joiner serves nobody while it has nothing to tell, and the others when nobody was there to tell it anything.
func TestWhoLearnsServesNobody(t *testing.T) {
	first := found1(t, "n0")
	cfg := configure(t, "n1")
	if err := Join(t.Context(), cfg, first.token()); err != nil {
		t.Fatal(err)
	}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, c := range []struct {
		what     string
		happens  func()
		learning bool
	}{
		{"it has just joined", func() {}, true},
		{"the time is up", m.setReady, false},
		{"somebody tells it, which takes longer", func() { m.asking.Add(1) }, true},
		{"that broke off", func() { m.asking.Add(-1) }, false},
		{"it was told all", func() { m.asking.Add(1); m.rounds.done("n0") }, false},
	} {
		c.happens()
		if got := m.learning(); got != c.learning {
			t.Errorf("%s: learning %v, want %v", c.what, got, c.learning)
		}
	}
	if first.learning() {
		t.Error("who has the store learns")
	}
}
