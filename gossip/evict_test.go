package gossip

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

func TestAnEvictedMemberIsRefusedByAll(t *testing.T) {
	first := found1(t, "n0")
	first.put("common", "x") // so that nobody who knows this mesh has forgotten what it holds
	knows(t, first.Mesh)
	all := []*server{first, first.admit("n1"), first.admit("n2")}
	victim := all[2]
	for _, s := range all {
		s.await(victim, Alive, 20*time.Second)
	}
	if _, err := all[0].Evict(t.Context(), "n2", false); !errors.Is(err, ErrStillThere) {
		t.Fatalf("evicting one that is in sight: %v", err)
	}
	if _, err := all[0].Evict(t.Context(), "nobody", true); !errors.Is(err, ErrNoMember) {
		t.Fatalf("evicting nobody: %v", err)
	}
	if _, err := all[0].Evict(t.Context(), "n0", true); err == nil {
		t.Fatal("a server evicted itself")
	}
	if _, err := all[0].Evict(t.Context(), "n2", true); err != nil {
		t.Fatal(err)
	}
	for _, s := range all[:2] {
		s.await(victim, Left, 10*time.Second)
		s.until(10*time.Second, "the eviction", func() bool { return s.Evicted(victim.Self().ID) })
		if len(s.holders()) != 2 {
			t.Errorf("%s still waits for the evicted one before it purges: %v", s.cfg.Name, s.holders())
		}
	}
	root, _ := all[0].Store().Root()
	victim.put("from-the-evicted", "x")
	victim.end()
	again := start(t, victim.cfg) // it knows everybody and dials them
	again.until(20*time.Second, "being told", again.Banished)
	for _, s := range all[:2] {
		if state, _ := s.stateOf(victim.Self().ID); state != Left {
			t.Errorf("%s sees the evicted one %s", s.cfg.Name, state)
		}
		if o, _ := s.Store().Get(store.Key{Kind: thing.Kind, Name: "from-the-evicted"}); o != nil {
			t.Errorf("%s took a record from the evicted one", s.cfg.Name)
		}
	}
	if now, _ := all[0].Store().Root(); now != root {
		t.Error("the store changed")
	}
	again.end()
	fresh := all[1].admit("n2") // its host under a new identity
	for _, s := range all[:2] {
		s.await(fresh, Alive, 20*time.Second)
	}
}

func TestRestoreBeginsTheMeshAgain(t *testing.T) {
	all := cluster(t, 2)
	all[0].put("kept", "1")
	all[1].put("deleted", "2")
	all[0].sees("deleted", "2", 5*time.Second)
	var b bytes.Buffer
	if _, err := all[0].Backup(t.Context(), &b, store.Attachment{Name: "more", Data: []byte("of the caller")}); err != nil {
		t.Fatal(err)
	}
	o, _ := all[0].Store().Get(store.Key{Kind: thing.Kind, Name: "deleted"})
	if _, err := all[0].Store().Write(t.Context(), store.Write{Key: o.Key, Op: store.Delete, Base: o, Human: true}); err != nil {
		t.Fatal(err)
	}
	open := func() *store.SnapshotReader {
		snap, err := store.OpenSnapshot(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		return snap
	}
	// Into the mesh that lives: nothing comes back.
	if m, err := all[0].Merge(t.Context(), open()); err != nil || m.News != 0 || m.Records == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	if o, _ := all[0].Store().Get(o.Key); o != nil {
		t.Fatal("a backup resurrected what was deleted")
	}
	// Into another mesh: refused.
	other := found1(t, "other")
	if _, err := other.Merge(t.Context(), open()); !errors.Is(err, ErrOtherMesh) {
		t.Fatalf("got %v", err)
	}
	if _, err := Restore(t.Context(), other.cfg, open()); !errors.Is(err, ErrInitialised) {
		t.Fatalf("got %v", err)
	}
	// Into nothing, with all other servers gone: the same mesh, in which new ones can join.
	mesh := all[0].Keys().MeshID
	all[0].end()
	all[1].end()
	cfg := configure(t, "n0")
	snap := open()
	if string(snap.Attached("more")) != "of the caller" {
		t.Fatal("the attachment is lost")
	}
	if n, err := Restore(t.Context(), cfg, snap); err != nil || n < 2 {
		t.Fatalf("%d records, %v", n, err)
	}
	first := start(t, cfg)
	if first.Keys().MeshID != mesh || first.Self().ID == all[0].Self().ID {
		t.Fatal("not the same mesh, or the old identity")
	}
	first.sees("kept", "1", time.Second)
	first.put("new", "3")
	second := first.admit("n2")
	second.sees("kept", "1", 10*time.Second)
	// A server of before comes back: it is found and merged with, and what it saw die stays dead.
	old := start(t, all[1].cfg)
	first.await(old, Alive, 20*time.Second)
	agree(t, 20*time.Second, first, second, old)
	if o, _ := first.Store().Get(o.Key); o != nil {
		t.Fatal("what was deleted after the backup lives again, though a server that knew came back")
	}
}
