package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// server is one real mesh in this process, on a port of its own of the loopback address.
type server struct {
	*Mesh
	cfg  Config
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

func configure(t *testing.T, name string) Config {
	t.Helper()
	log := slog.DiscardHandler
	if os.Getenv("MESH_LOG") != "" {
		log = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})
	}
	return Config{Dir: t.TempDir(), Name: name, Listen: freePort(t), Region: "r1", Zone: "z-" + name, wire: &wire{},
		Log: slog.New(log).With("node", name)}
}

// freePort is free for UDP and TCP.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 50 {
		tcp, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := tcp.Addr().(*net.TCPAddr).AddrPort()
		udp, err := net.ListenPacket("udp4", addr.String())
		tcp.Close()
		if err == nil {
			udp.Close()
			return addr
		}
	}
	t.Fatal("no port is free for UDP and TCP")
	return netip.AddrPort{}
}

func start(t *testing.T, cfg Config) *server {
	t.Helper()
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, cfg, m).awaitReady()
}

// launch runs a mesh that is open, until the test ends.
func launch(t *testing.T, cfg Config, m *Mesh) *server {
	ctx, stop := context.WithCancel(t.Context())
	s := &server{Mesh: m, cfg: cfg, t: t, stop: stop, done: make(chan error, 1)}
	go func() { s.done <- m.Run(ctx) }()
	t.Cleanup(s.end)
	return s
}

func (s *server) awaitReady() *server {
	s.t.Helper()
	select {
	case <-s.Ready():
	case err := <-s.done:
		s.done <- err
		s.t.Fatalf("%s ended before it was ready: %v", s.cfg.Name, err)
	case <-time.After(20 * time.Second):
		s.t.Fatalf("%s did not get ready", s.cfg.Name)
	}
	return s
}

func (s *server) end() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Errorf("%s ended: %v", s.cfg.Name, err)
		}
	case <-time.After(20 * time.Second):
		s.t.Errorf("%s did not end", s.cfg.Name)
	}
}

func found1(t *testing.T, name string) *server {
	t.Helper()
	cfg := configure(t, name)
	if err := Create(cfg); err != nil {
		t.Fatal(err)
	}
	return start(t, cfg)
}

func (s *server) token() string {
	s.t.Helper()
	text, err := s.CreateToken(s.t.Context(), time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

func (s *server) admit(name string) *server {
	s.t.Helper()
	cfg := configure(s.t, name)
	if err := Join(s.t.Context(), cfg, s.token()); err != nil {
		s.t.Fatal(err)
	}
	return start(s.t, cfg)
}

// cluster starts n servers that all see one another.
func cluster(t *testing.T, n int) []*server {
	t.Helper()
	all := []*server{found1(t, "n0")}
	for i := 1; i < n; i++ {
		all = append(all, all[0].admit(fmt.Sprintf("n%d", i)))
	}
	for _, s := range all {
		for _, o := range all {
			s.await(o, Alive, 20*time.Second)
		}
	}
	return all
}

func (s *server) stateOf(id ID) (State, bool) {
	for _, m := range s.Members() {
		if m.ID == id {
			return m.State, true
		}
	}
	return 0, false
}

// await waits by events until s sees o in the state, and returns how long that took.
func (s *server) await(o *server, want State, within time.Duration) time.Duration {
	s.t.Helper()
	begun := time.Now()
	s.until(within, fmt.Sprintf("%s to see %s %s", s.cfg.Name, o.cfg.Name, want), func() bool {
		got, ok := s.stateOf(o.Self().ID)
		return ok && got == want
	})
	return time.Since(begun)
}

func (s *server) until(within time.Duration, what string, ok func() bool) {
	s.t.Helper()
	wake, stop := s.Watch()
	defer stop()
	limit := time.After(within)
	for !ok() {
		select {
		case <-wake:
		case <-limit:
			s.t.Fatalf("waited %s in vain for %s; members: %+v", within, what, s.Members())
		}
	}
}

// crash takes the server off the wire without a word.
func (s *server) crash() {
	s.cfg.wire.set(func(netip.AddrPort) bool { return true })
	for _, c := range s.link().host.Network().Conns() {
		if _, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_TCP); err == nil {
			_ = c.Close()
		}
	}
}

var thing = store.Selector{Kind: "test/things"}

func (s *server) put(name, body string) *store.Object {
	s.t.Helper()
	o, err := s.Store().Write(s.t.Context(), store.Write{Key: store.Key{Kind: thing.Kind, Name: name}, Body: []byte(body), Human: true})
	if err != nil {
		s.t.Fatalf("%s writes %s: %v", s.cfg.Name, name, err)
	}
	return o
}

// sees waits until the object of this name is in s's store.
func (s *server) sees(name, body string, within time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), within)
	defer cancel()
	sub, err := s.Store().Subscribe(thing, 0, true)
	if err != nil {
		s.t.Fatal(err)
	}
	defer sub.Close()
	for _, o := range sub.Initial {
		if o.Name == name && string(o.Bodies[store.Intent]) == body {
			return
		}
	}
	for {
		events, err := sub.Next(ctx)
		if err != nil {
			s.t.Fatalf("%s does not see %s: %v", s.cfg.Name, name, err)
		}
		for _, e := range events {
			if e.New != nil && e.New.Name == name && string(e.New.Bodies[store.Intent]) == body {
				return
			}
		}
	}
}

// agree waits until all stores have the same root.
func agree(t *testing.T, within time.Duration, all ...*server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for ctx.Err() == nil {
		root, n := all[0].Store().Root()
		same := true
		for _, s := range all[1:] {
			r, k := s.Store().Root()
			same = same && r == root && k == n
		}
		if same {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, s := range all {
		r, k := s.Store().Root()
		t.Errorf("%s: root %x of %d records", s.cfg.Name, r[:4], k)
	}
	t.Fatal("the stores did not become equal")
}
