package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// oneMesh is a mesh of one server. Somebody may take the port between the look for one and its use: then it is another one.
func oneMesh(t *testing.T) *gossip.Mesh {
	t.Helper()
	for range 20 {
		if m := tryMesh(t); m != nil {
			return m
		}
	}
	t.Fatal("no port stays free")
	return nil
}

func tryMesh(t *testing.T) *gossip.Mesh {
	t.Helper()
	probe, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	probe.Close()
	cfg := gossip.Config{Dir: t.TempDir(), Name: "a", Listen: at, Advertise: netip.MustParseAddr("127.0.0.1"), Log: slog.New(slog.DiscardHandler)}
	if err := gossip.Create(cfg); err != nil {
		t.Fatal(err)
	}
	m, err := gossip.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	select {
	case <-m.Ready():
	case err := <-ended:
		cancel()
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
		return nil
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return m
}

// Two rotations on the two sides of a split leave two lists, and the merge keeps one: the other side's key stays in use
// here and comes back into the list.
func TestAKeyThatAMergeDroppedComesBack(t *testing.T) {
	m := oneMesh(t)
	var ring [][]byte
	k, err := openKeyring(m, t.TempDir(), func(keys [][]byte) error { ring = keys; return nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	kept, dropped := bytes.Repeat([]byte{1}, keyBytes), bytes.Repeat([]byte{2}, keyBytes)
	for _, key := range [][]byte{kept, dropped} {
		if err := k.add(key); err != nil {
			t.Fatal(err)
		}
	}
	body, err := json.Marshal(keyringRecord{IDs: []string{keyID(kept)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Store().Write(t.Context(), store.Write{Key: keyringKey, Body: body, Human: true}); err != nil {
		t.Fatal(err)
	}
	k.apply(t.Context())
	if len(ring) != 3 || !bytes.Equal(ring[0], kept) || !slices.ContainsFunc(ring, func(key []byte) bool { return bytes.Equal(key, dropped) }) {
		t.Errorf("%d keys in use", len(ring))
	}
	if ids := k.record().IDs; !slices.Equal(ids, []string{keyID(kept), keyID(dropped)}) {
		t.Errorf("listed %v", ids)
	}
}
