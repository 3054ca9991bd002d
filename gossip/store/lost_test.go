package store

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

// backup is a snapshot of s as bytes.
func backup(t testing.TB, s *Store, attached ...Attachment) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Snapshot(t.Context(), &b, attached...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func opened(t testing.TB, b []byte) *SnapshotReader {
	t.Helper()
	r, err := OpenSnapshot(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func merged(t testing.TB, s *Store, b []byte) Merged {
	t.Helper()
	m, err := s.Merge(t.Context(), opened(t, b))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func lostOf(t testing.TB, s *Store) []Lost {
	t.Helper()
	all, err := s.Lost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// aged opens a store in which every tombstone of pods up to now was purged: their horizon is now.
func aged(t testing.TB, cfg Config) *Store {
	t.Helper()
	d, _, _, _, err := openDisk(cfg.Dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.commit(&batch{horizon: []horizonOf{{"core/pods", stampOf(time.Now().Add(time.Second))}}}); err != nil {
		t.Fatal(err)
	}
	if err := d.db.Close(); err != nil {
		t.Fatal(err)
	}
	return start(t, cfg)
}

func TestASnapshotMakesTheSameStoreAnew(t *testing.T) {
	m := newMesh()
	s := m.add(t, "a")
	fill(t, s, "x", 700)
	put(t, s, Write{Key: pod("x-00007"), Op: Delete, Base: get(s, pod("x-00007"))})
	put(t, s, Write{Key: pod("x-00008"), Part: Status, Base: get(s, pod("x-00008")), Body: []byte("ok")})
	b := backup(t, s, Attachment{"mesh.json", []byte("keys")})
	put(t, s, Write{Key: pod("later"), Body: []byte("not in the snapshot")})
	dir := t.TempDir()
	r := opened(t, b)
	if string(r.Attached("mesh.json")) != "keys" || r.Attached("other") != nil {
		t.Fatal("attachments")
	}
	n, err := Import(t.Context(), dir, r, verify)
	if err != nil || n != 701 {
		t.Fatalf("%d records, %v", n, err)
	}
	again := start(t, m.config("b", dir))
	if get(again, pod("x-00007")) != nil || string(get(again, pod("x-00008")).Bodies[Status]) != "ok" || get(again, pod("later")) != nil {
		t.Fatal("what came back is not what was there")
	}
	reconcile(t, again, s)
	equalRoots(t, again, s)
	if _, err := Import(t.Context(), dir, opened(t, b), verify); err == nil {
		t.Fatal("a store that exists was overwritten")
	}
}

func TestAnImportThatBreaksOffLeavesNothing(t *testing.T) {
	s := newMesh().add(t, "a")
	fill(t, s, "x", 600)
	b := backup(t, s)
	dir := t.TempDir()
	if _, err := Import(t.Context(), dir, opened(t, b[:len(b)-40]), verify); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Fatalf("got %v", err)
	}
	if again := start(t, newMesh().config("b", dir)); again.Quarantined() != "" {
		t.Fatal("half an import was taken for a store")
	} else if _, n := again.Root(); n != 0 {
		t.Fatalf("%d records of a snapshot that was cut short", n)
	}
	forged := bytes.Replace(b, []byte("x-00011"), []byte("y-00011"), 1)
	if _, err := Import(t.Context(), t.TempDir(), opened(t, forged), verify); err == nil {
		t.Fatal("a record with another name than was signed is taken")
	}
}

// TestMergeOfABackupResurrectsNothing: what was deleted since stays deleted, also where its tombstone is long purged.
func TestMergeOfABackupResurrectsNothing(t *testing.T) {
	m := newMesh()
	s := m.add(t, "a")
	for _, name := range []string{"kept", "changed", "deleted"} {
		put(t, s, Write{Key: pod(name), Body: []byte("old"), Human: true})
	}
	b := backup(t, s)
	put(t, s, Write{Key: pod("changed"), Base: get(s, pod("changed")), Body: []byte("new"), Human: true})
	put(t, s, Write{Key: pod("deleted"), Base: get(s, pod("deleted")), Op: Delete, Human: true})
	root, _ := s.Root()
	if got := merged(t, s, b); got != (Merged{Records: 3}) {
		t.Fatalf("%+v", got)
	}
	if again, _ := s.Root(); again != root || get(s, pod("deleted")) != nil || string(get(s, pod("changed")).Bodies[Intent]) != "new" {
		t.Fatal("an old backup changed the present")
	}
	old := aged(t, m.config("c", t.TempDir()))
	if got := merged(t, old, b); got != (Merged{Records: 3, Lost: 3}) {
		t.Fatalf("%+v", got)
	}
	if _, n := old.Root(); n != 0 {
		t.Fatal("records from before the horizon were merged")
	}
}

func TestLostAndFound(t *testing.T) {
	m := newMesh()
	m.mute = true
	a := m.add(t, "a")
	first := put(t, a, Write{Key: pod("one"), Body: []byte("1"), Human: true})
	put(t, a, Write{Key: pod("two"), Body: []byte("2"), Human: true})
	put(t, a, Write{Key: pod("three"), Body: []byte("3")})
	cfg := m.config("b", t.TempDir())
	b := aged(t, cfg)
	merged(t, b, backup(t, a))
	all := lostOf(t, b)
	if len(all) != 3 || all[0].Name != "three" || all[2].Name != "one" || !all[2].Human || all[2].Author != "a" || string(all[2].Body) != "1" || all[2].Damaged {
		t.Fatalf("%+v", all)
	}
	three, two, one := all[0], all[1], all[2]
	ctx := context.Background()
	if err := b.Admit(ctx, one.ID, false); err != nil {
		t.Fatal(err)
	}
	if o := get(b, pod("one")); o == nil || string(o.Bodies[Intent]) != "1" || o.Author != "b" || !o.Human {
		t.Fatalf("admitted as %+v (was %s)", o, first.UID)
	}
	put(t, b, Write{Key: pod("two"), Body: []byte("another"), Human: true})
	wants(t, b.Admit(ctx, two.ID, false), ErrExists)
	if string(get(b, pod("two")).Bodies[Intent]) != "another" || len(lostOf(t, b)) != 2 {
		t.Fatal("a refused admission changed something")
	}
	if err := b.Admit(ctx, two.ID[:6], true); err != nil || string(get(b, pod("two")).Bodies[Intent]) != "2" {
		t.Fatalf("%v, %+v", err, get(b, pod("two")))
	}
	if err := b.Drop(ctx, three.ID); err != nil || len(lostOf(t, b)) != 0 || get(b, pod("three")) != nil {
		t.Fatalf("%v, %d left", err, len(lostOf(t, b)))
	}
	wants(t, b.Drop(ctx, three.ID), ErrNotLost)
	wants(t, b.Admit(ctx, "", false), ErrNotLost)
}

// TestAFloodIsLeftToReconciliation: what an author brings over its rate is neither merged nor relayed, and comes all the same.
func TestAFloodIsLeftToReconciliation(t *testing.T) {
	m := newMesh()
	m.mute = true
	a := m.add(t, "a")
	fill(t, a, "x", 20)
	cfg := m.config("b", t.TempDir())
	left := 10
	cfg.Allow = func(author string, records, _ int) bool {
		if left -= records; author != "a" || left < 0 {
			return false
		}
		return true
	}
	b := start(t, cfg)
	var refused int
	a.known.Load().set.all(func(r *Record) bool {
		if err := b.Receive("a", encodeFrame([]*Record{r})); err != nil {
			wants(t, err, ErrFlood)
			refused++
		}
		return true
	})
	if refused != 10 {
		t.Fatalf("%d frames refused, want 10", refused)
	}
	reconcile(t, b, a)
	equalRoots(t, a, b)
}
