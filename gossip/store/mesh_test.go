package store

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"os"
	"reflect"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if task := tasks[os.Getenv("STORE_TASK")]; task != nil {
		task(os.Getenv("STORE_DIR"))
		return
	}
	if os.Getenv("STORE_CHILD") != "" {
		child()
		return
	}
	if dir := os.Getenv("STORE_WEIGH"); dir != "" {
		if err := weighed(dir); err != nil {
			log.Fatal(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func identity(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func verify(actor string, msg, sig []byte) error {
	if !ed25519.Verify(identity(actor).Public().(ed25519.PublicKey), msg, sig) {
		return errors.New("bad signature")
	}
	return nil
}

// node is a running store; mesh connects nodes in memory and can lose what they publish.
type mesh struct {
	mu    sync.Mutex
	nodes map[string]*Store
	down  map[string]bool
	home  string
	mute  bool
}

func newMesh() *mesh { return &mesh{nodes: map[string]*Store{}, down: map[string]bool{}} }

func classes(k Key) Class {
	switch k.Kind {
	case "core/events":
		return Ephemeral
	case "derived/slices":
		return Local
	}
	return Durable
}

func (m *mesh) config(name, dir string) Config {
	key := identity(name)
	return Config{
		Dir: dir, Self: name, Class: classes,
		Sign:   func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil },
		Verify: verify,
		Home:   func(Key) string { m.mu.Lock(); defer m.mu.Unlock(); return m.home },
		Propose: func(ctx context.Context, home string, frame []byte) ([]byte, error) {
			m.mu.Lock()
			s, down := m.nodes[home], m.down[home] || m.down[name]
			m.mu.Unlock()
			if s == nil || down {
				return nil, errors.New("unreachable")
			}
			return s.HandlePropose(ctx, name, frame)
		},
		Publish: func(frame []byte) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for n, s := range m.nodes {
				if n != name && !m.mute && !m.down[n] && !m.down[name] {
					_ = s.Receive(name, frame)
				}
			}
		},
	}
}

func start(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t testing.TB, s *Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for !s.running.Load() {
		select {
		case err := <-done:
			t.Fatal(err)
		default:
		}
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (m *mesh) add(t testing.TB, name string) *Store {
	s := start(t, m.config(name, t.TempDir()))
	m.mu.Lock()
	m.nodes[name] = s
	m.mu.Unlock()
	return s
}

func put(t testing.TB, s *Store, w Write) *Object {
	t.Helper()
	o, err := s.Write(context.Background(), w)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func pod(name string) Key { return Key{"core/pods", "default", name} }

func wants(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func TestWriteReadDelete(t *testing.T) {
	s := newMesh().add(t, "a")
	ctx := context.Background()
	o := put(t, s, Write{Key: pod("x"), Body: []byte("1"), Head: Head{Generation: 1}})
	if got, rev := s.Get(pod("x")); !reflect.DeepEqual(got, o) || rev != o.Rev || string(got.Bodies[Intent]) != "1" || got.Head.Generation != 1 || got.Root != got.Key {
		t.Fatalf("got %+v at %d", got, rev)
	}
	_, err := s.Write(ctx, Write{Key: pod("x"), Body: []byte("2")})
	wants(t, err, ErrExists)
	o2 := put(t, s, Write{Key: pod("x"), Part: Status, Base: o, Body: []byte("s")})
	if o2.UID != o.UID || string(o2.Bodies[Status]) != "s" || o2.Created != o.Created || o2.Rev <= o.Rev {
		t.Fatalf("got %+v", o2)
	}
	_, err = s.Write(ctx, Write{Key: pod("x"), Base: o, Body: []byte("2")})
	wants(t, err, ErrConflict)
	last := put(t, s, Write{Key: pod("x"), Base: o2, Op: Delete})
	if string(last.Bodies[Intent]) != "1" || last.Rev <= o2.Rev || !s.Tombstoned(o.UID) {
		t.Fatalf("last %+v, tombstoned %v", last, s.Tombstoned(o.UID))
	}
	if got, _ := s.Get(pod("x")); got != nil {
		t.Fatalf("still there: %+v", got)
	}
	_, err = s.Write(ctx, Write{Key: pod("x"), Base: o2, Body: []byte("2")})
	wants(t, err, ErrGone)
	if again := put(t, s, Write{Key: pod("x"), Body: []byte("3")}); again.UID == o.UID {
		t.Fatal("a new life has the old UID")
	}
	_, err = s.Write(ctx, Write{Key: pod("big"), Body: make([]byte, MaxBody+1)})
	wants(t, err, ErrTooLarge)
}

func TestRestartKeepsEverything(t *testing.T) {
	m, dir := newMesh(), t.TempDir()
	s, err := Open(m.config("a", dir))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	var last *Object
	for i := range 20 {
		last = put(t, s, Write{Key: pod(fmt.Sprint(i)), Body: []byte{byte(i)}})
	}
	dead := put(t, s, Write{Key: pod("3"), Op: Delete, Base: get(s, pod("3"))})
	put(t, s, Write{Key: pod("4"), Part: Observation, Base: get(s, pod("4")), Body: []byte("seen")})
	put(t, s, Write{Key: Key{"core/events", "default", "e"}, Body: []byte("gone after a restart")})
	root, n := s.Root()
	counter := s.core.counter
	stop()
	s = start(t, m.config("a", dir))
	if r, k := s.Root(); r != root || k != n {
		t.Fatalf("root changed: %d records, were %d", k, n)
	}
	if s.Rev() <= last.Rev || s.core.counter <= counter {
		t.Fatal("revision or counter fell")
	}
	if !s.Tombstoned(dead.UID) || get(s, pod("3")) != nil || string(get(s, pod("4")).Bodies[Observation]) != "seen" {
		t.Fatal("state differs after restart")
	}
	if get(s, Key{"core/events", "default", "e"}) != nil {
		t.Fatal("an ephemeral object survived")
	}
	_, err = s.Subscribe(Selector{Kind: "core/pods"}, last.Rev, false)
	wants(t, err, ErrCompacted)
}

func get(s *Store, k Key) *Object { o, _ := s.Get(k); return o }
