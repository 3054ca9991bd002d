package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestHomeSerialises(t *testing.T) {
	m := newMesh()
	m.home, m.mute = "a", true // nothing spreads by itself: only the home's answers bring news
	a, b, c := m.add(t, "a"), m.add(t, "b"), m.add(t, "c")
	ctx := context.Background()
	first := put(t, b, Write{Key: pod("x"), Body: []byte("b")})
	if string(get(a, pod("x")).Bodies[Intent]) != "b" {
		t.Fatal("the home does not have what it accepted")
	}
	_, err := c.Write(ctx, Write{Key: pod("x"), Body: []byte("c")})
	wants(t, err, ErrExists)
	seen := get(c, pod("x"))
	if seen == nil || seen.UID != first.UID {
		t.Fatal("the refused writer does not see why")
	}
	put(t, c, Write{Key: pod("x"), Base: seen, Body: []byte("c2")})
	_, err = b.Write(ctx, Write{Key: pod("x"), Base: first, Body: []byte("b2")})
	wants(t, err, ErrConflict)
	put(t, b, Write{Key: pod("x"), Base: get(b, pod("x")), Body: []byte("b3")})
	put(t, a, Write{Key: pod("x"), Base: get(a, pod("x")), Op: Delete})
	_, err = c.Write(ctx, Write{Key: pod("x"), Base: get(c, pod("x")), Body: []byte("c4")})
	wants(t, err, ErrGone)
	// b does not know of the delete: its creation gets the old UID, and the home teaches it the tombstone.
	_, err = b.Write(ctx, Write{Key: pod("x"), Base: get(b, pod("x")), Op: Delete})
	wants(t, err, ErrGone)
	if again := put(t, b, Write{Key: pod("x"), Body: []byte("new")}); again.UID == first.UID {
		t.Fatal("the new life has the dead one's UID")
	}
	// A node that never heard of either life creates one at a time when the home has only a tombstone.
	put(t, a, Write{Key: pod("x"), Base: get(a, pod("x")), Op: Delete})
	d := m.add(t, "d")
	put(t, d, Write{Key: pod("x"), Body: []byte("d")})
	if o := get(a, pod("x")); o == nil || o.UID != get(d, pod("x")).UID {
		t.Fatal("creation over tombstones unknown to its author failed")
	}
}

// TestACreationBringsItsTombstones: the home was out of reach while b ended the object, and believes that it lives.
func TestACreationBringsItsTombstones(t *testing.T) {
	m := newMesh()
	m.home, m.mute = "a", true
	a, b := m.add(t, "a"), m.add(t, "b")
	first := put(t, b, Write{Key: pod("x"), Body: []byte("1")})
	m.mu.Lock()
	m.down["a"] = true
	m.mu.Unlock()
	put(t, b, Write{Key: pod("x"), Base: first, Op: Delete})
	m.mu.Lock()
	m.down["a"] = false
	m.mu.Unlock()
	second := put(t, b, Write{Key: pod("x"), Body: []byte("2")})
	if o := get(a, pod("x")); o == nil || o.UID != second.UID || o.UID == first.UID {
		t.Fatalf("the home shows %s", describe(o))
	}
}

func TestHomeOutOfReach(t *testing.T) {
	m := newMesh()
	m.home = "nobody"
	a, b := m.add(t, "a"), m.add(t, "b")
	o := put(t, a, Write{Key: pod("x"), Body: []byte("1")})
	eventually(t, b, pod("x"), func(x *Object) bool { return x != nil && x.UID == o.UID })
}

// TestDeletedBeforeTheAnswer: the home accepts an update, somebody deletes the object there, and gossip brings the delete
// to the writer before the home's answer. The update came about all the same: its writer is not told that nothing was there.
func TestDeletedBeforeTheAnswer(t *testing.T) {
	m := newMesh()
	m.home = "a"
	a := m.add(t, "a")
	cfg := m.config("b", t.TempDir())
	ask := cfg.Propose
	var b *Store
	cfg.Propose = func(ctx context.Context, home string, frame []byte) ([]byte, error) {
		answer, err := ask(ctx, home, frame)
		if o := get(a, pod("x")); o != nil && string(o.Bodies[Intent]) == "2" {
			put(t, a, Write{Key: pod("x"), Base: o, Op: Delete})
			eventually(t, b, pod("x"), func(o *Object) bool { return o == nil })
		}
		return answer, err
	}
	b = start(t, cfg)
	m.mu.Lock()
	m.nodes["b"] = b
	m.mu.Unlock()
	first := put(t, b, Write{Key: pod("x"), Body: []byte("1")})
	o, err := b.Write(context.Background(), Write{Key: pod("x"), Base: first, Body: []byte("2"), Head: Head{DeletionTime: 7}})
	if err != nil {
		t.Fatal(err)
	}
	if string(o.Bodies[Intent]) != "2" || o.UID != first.UID || o.Head.DeletionTime != 7 || o.Rev <= first.Rev {
		t.Fatalf("the writer got %+v", o)
	}
	if get(b, pod("x")) != nil {
		t.Fatal("what was deleted is back")
	}
}

// TestHomesAnswerIsLost: the home accepts and tells everybody, its answer alone gets lost. That is no conflict.
func TestHomesAnswerIsLost(t *testing.T) {
	m := newMesh()
	m.home = "a"
	m.add(t, "a")
	cfg := m.config("b", t.TempDir())
	ask := cfg.Propose
	var b *Store
	cfg.Propose = func(ctx context.Context, home string, frame []byte) ([]byte, error) {
		recs, err := decodeFrame(frame)
		if err != nil {
			return nil, err
		}
		if _, err := ask(ctx, home, frame); err != nil {
			return nil, err
		}
		for {
			if _, here := b.known.Load().set.get(recs[0]); here || ctx.Err() != nil {
				return nil, errors.New("lost on its way")
			}
			time.Sleep(time.Millisecond)
		}
	}
	b = start(t, cfg)
	m.mu.Lock()
	m.nodes["b"] = b
	m.mu.Unlock()
	o := put(t, b, Write{Key: pod("x"), Body: []byte("1")})
	o = put(t, b, Write{Key: pod("x"), Base: o, Body: []byte("2")})
	if last := put(t, b, Write{Key: pod("x"), Base: o, Op: Delete}); string(last.Bodies[Intent]) != "2" {
		t.Errorf("the deleted one was %s", describe(last))
	}
}

// TestWhatFollowsOvertakesTheAnswer: the home accepts a pod and binds it at once; the author hears of both, and never the answer.
func TestWhatFollowsOvertakesTheAnswer(t *testing.T) {
	m := newMesh()
	m.home = "a"
	a := m.add(t, "a")
	cfg := m.config("b", t.TempDir())
	ask := cfg.Propose
	var b *Store
	cfg.Propose = func(ctx context.Context, home string, frame []byte) ([]byte, error) {
		if _, err := ask(ctx, home, frame); err != nil {
			return nil, err
		}
		bound := put(t, a, Write{Key: pod("x"), Base: get(a, pod("x")), Body: []byte("bound")})
		eventually(t, b, pod("x"), func(o *Object) bool { return o != nil && o.UID == bound.UID && string(o.Bodies[Intent]) == "bound" })
		return nil, errors.New("lost on its way")
	}
	b = start(t, cfg)
	m.mu.Lock()
	m.nodes["b"] = b
	m.mu.Unlock()
	if o := put(t, b, Write{Key: pod("x"), Body: []byte("1")}); string(o.Bodies[Intent]) != "bound" {
		t.Errorf("created %s", describe(o))
	}
}

// TestTheEndOvertakesTheAnswer: what b puts the home accepts, and ends at once (a finalizer's controller sits there); both are
// at b before the home's answer. The put was done all the same.
func TestTheEndOvertakesTheAnswer(t *testing.T) {
	m := newMesh()
	m.home = "a"
	a := m.add(t, "a")
	cfg := m.config("b", t.TempDir())
	ask := cfg.Propose
	var b *Store
	cfg.Propose = func(ctx context.Context, home string, frame []byte) ([]byte, error) {
		verdict, err := ask(ctx, home, frame)
		if o := get(a, pod("x")); err == nil && o != nil {
			put(t, a, Write{Key: pod("x"), Base: o, Op: Delete})
			for !b.Tombstoned(o.UID) && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}
		return verdict, err
	}
	b = start(t, cfg)
	m.mu.Lock()
	m.nodes["b"] = b
	m.mu.Unlock()
	before := b.Rev()
	if o := put(t, b, Write{Key: pod("x"), Body: []byte("created")}); string(o.Bodies[Intent]) != "created" || o.Rev <= before {
		t.Errorf("the created one is %s at %d", describe(o), o.Rev)
	}
	o := put(t, a, Write{Key: pod("x"), Body: []byte("1")})
	eventually(t, b, pod("x"), func(x *Object) bool { return x != nil && x.UID == o.UID })
	base := get(b, pod("x"))
	put(t, b, Write{Key: pod("x"), Part: Status, Base: base, Body: []byte("s")})
	base = get(b, pod("x"))
	after := put(t, b, Write{Key: pod("x"), Base: base, Body: []byte("2"), Head: Head{DeletionTime: 7}})
	if string(after.Bodies[Intent]) != "2" || string(after.Bodies[Status]) != "s" || after.Head.DeletionTime != 7 || after.Rev <= base.Rev {
		t.Errorf("the updated one is %s with head %+v at %d", describe(after), after.Head, after.Rev)
	}
}

// eventually waits for a view by its events.
func eventually(t testing.TB, s *Store, k Key, ok func(*Object) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	sub, err := s.Subscribe(Selector{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name}, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for !ok(get(s, k)) {
		if _, err := sub.Next(ctx); err != nil {
			t.Fatalf("%s shows %s: %v", k, describe(get(s, k)), err)
		}
	}
}

// TestOneWinnerPerRevision: of writers that race for one object on three nodes, exactly one succeeds on each revision, so
// that a counter kept in the body counts every success.
func TestOneWinnerPerRevision(t *testing.T) {
	m := newMesh()
	m.home = "a"
	nodes := []*Store{m.add(t, "a"), m.add(t, "b"), m.add(t, "c")}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	put(t, nodes[1], Write{Key: pod("n"), Body: []byte("0")})
	var wg sync.WaitGroup
	const each = 20
	for _, s := range nodes {
		for range 2 {
			wg.Go(func() {
				for done := 0; done < each; {
					o := get(s, pod("n"))
					if o == nil {
						eventually(t, s, pod("n"), func(o *Object) bool { return o != nil })
						continue
					}
					var n int
					fmt.Sscan(string(o.Bodies[Intent]), &n)
					if _, err := s.Write(ctx, Write{Key: pod("n"), Base: o, Body: fmt.Append(nil, n+1)}); err == nil {
						done++
					} else if ctx.Err() != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for _, s := range nodes {
		eventually(t, s, pod("n"), func(o *Object) bool { return string(o.Bodies[Intent]) == fmt.Sprint(3*2*each) })
	}
}

func TestPoisonIsRefused(t *testing.T) {
	m := newMesh()
	m.mute = true
	a, b := m.add(t, "a"), m.add(t, "b")
	put(t, a, Write{Key: pod("x"), Body: []byte("hello")})
	r := a.known.Load().set.at(0)
	good := encodeFrame([]*Record{r})
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x20
		if err := b.Receive("a", bad); err == nil {
			t.Fatalf("a flipped bit in byte %d of %d passed", i, len(good))
		}
	}
	if err := b.Receive("a", good); err != nil {
		t.Fatal(err)
	}
	eventually(t, b, pod("x"), func(o *Object) bool { return o != nil })
}

func TestLargeRecordIsAnnounced(t *testing.T) {
	m := newMesh()
	told := make(chan string, 1)
	cfg := m.config("b", t.TempDir())
	cfg.Behind = func(peer string) { told <- peer }
	b := start(t, cfg)
	m.nodes["b"] = b
	a := m.add(t, "a")
	put(t, a, Write{Key: pod("big"), Body: make([]byte, 200<<10)})
	if peer := <-told; peer != "a" {
		t.Fatalf("reconcile with %q?", peer)
	}
	reconcile(t, b, a)
	equalRoots(t, a, b)
}

func TestEphemeralAndLocal(t *testing.T) {
	m := newMesh()
	a, b := m.add(t, "a"), m.add(t, "b")
	event, slice := Key{"core/events", "default", "e"}, Key{"derived/slices", "default", "s"}
	o := put(t, a, Write{Key: event, Body: []byte("1")})
	eventually(t, b, event, func(o *Object) bool { return o != nil })
	put(t, a, Write{Key: event, Base: o, Body: []byte("2")})
	eventually(t, b, event, func(o *Object) bool { return string(o.Bodies[Intent]) == "2" })
	put(t, a, Write{Key: event, Base: get(a, event), Op: Delete})
	eventually(t, b, event, func(o *Object) bool { return o == nil })
	s := put(t, a, Write{Key: slice, Body: []byte("1")})
	s = put(t, a, Write{Key: slice, Part: Status, Base: s, Body: []byte("st")})
	s = put(t, a, Write{Key: slice, Base: s, Body: []byte("2")})
	if string(s.Bodies[Status]) != "st" || string(s.Bodies[Intent]) != "2" || get(b, slice) != nil {
		t.Fatalf("%+v", s)
	}
	put(t, a, Write{Key: slice, Base: s, Op: Delete})
	if _, n := a.Root(); n != 0 {
		t.Fatal("memory-only records count as durable")
	}
}

func TestEphemeralIsCapped(t *testing.T) {
	l := newLab(t, "a")
	c := l.cores["a"]
	c.cfg.EphemeralMax = 10
	for i := range 30 {
		if err := l.do("a", Write{Key: Key{"core/events", "default", fmt.Sprint(i)}, Body: []byte("e")}); err != nil {
			t.Fatal(err)
		}
	}
	if c.entries.size() != 10 || c.known(Key{"core/events", "default", "29"}) == nil {
		t.Fatalf("%d entries", c.entries.size())
	}
	for i := 20; i < 25; i++ {
		if err := l.do("a", Write{Key: Key{"core/events", "default", fmt.Sprint(i)}, Op: Delete}); err != nil {
			t.Fatal(err)
		}
	}
	if c.entries.size() != 5 {
		t.Fatalf("%d entries after deletes", c.entries.size())
	}
	l.now = l.now.Add(2 * time.Hour)
	c.Step(l.now, event{tick: true})
	if c.entries.size() != 0 || c.passing.size() != 0 {
		t.Fatalf("%d entries after their time", c.entries.size())
	}
}
