package gossip

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// alone runs the store of a server that reaches nobody, until the test ends or the returned function is called.
func alone(t *testing.T, cfg Config) (*Mesh, func()) {
	t.Helper()
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.store.Run(ctx) }()
	m.awaitStore(ctx)
	return m, func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func (m *Mesh) uidOf(t *testing.T, name string) string {
	t.Helper()
	o, err := m.store.Write(t.Context(), store.Write{Key: store.Key{Kind: thing.Kind, Name: name}, Body: []byte(name)})
	if err != nil {
		t.Fatal(err)
	}
	return o.UID
}

// knows waits until a store that was empty says to others that it is not.
func knows(t *testing.T, m *Mesh) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for m.store.Forgetful() {
		select {
		case <-ctx.Done():
			t.Fatal("a store that is not empty says that it is")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// What a server creates before it knows what the mesh holds must not get a UID that the mesh may have given and forgotten: until
// then its UIDs are like nobody else's, also after a restart, and where its store was lost.
func TestNewcomersUIDsAreTheirOwn(t *testing.T) {
	first := found1(t, "n0")
	taken := first.uidOf(t, "a")
	knows(t, first.Mesh)
	cfg := configure(t, "n1")
	if err := Join(t.Context(), cfg, first.token()); err != nil {
		t.Fatal(err)
	}
	m, stop := alone(t, cfg)
	if got := m.uidOf(t, "a"); got == taken {
		t.Error("a new server gave an object a UID of the mesh that it joined")
	}
	stop()
	want := first.uidOf(t, "b")
	m, stop = alone(t, cfg)
	if got := m.uidOf(t, "b"); got == want || !m.store.Forgetful() {
		t.Error("so did one that started again before it met anybody")
	}
	stop()

	s := start(t, cfg)
	agree(t, 10*time.Second, first, s)
	s.put("e", "is written once it has met somebody who knows")
	agree(t, 10*time.Second, first, s)
	s.end()
	want = first.uidOf(t, "c")
	m, stop = alone(t, cfg)
	if got := m.uidOf(t, "c"); got != want || m.store.Forgetful() {
		t.Error("one object made on two sides is two objects, although both know the mesh")
	}
	stop()

	if err := os.Remove(cfg.storeFile()); err != nil {
		t.Fatal(err)
	}
	want = first.uidOf(t, "d")
	m, stop = alone(t, cfg)
	if got := m.uidOf(t, "d"); got == want {
		t.Error("a server whose store was lost gave an object a UID of the mesh")
	}
	stop()
}
