package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func names2(objs []*Object) string {
	s := ""
	for _, o := range objs {
		s += " " + o.Namespace + "/" + o.Name
	}
	return s
}

func TestListPagesAndPast(t *testing.T) {
	s := newMesh().add(t, "a")
	for _, k := range []string{"b/2", "a/1", "a-b/1", "b/1", "a/2", "c/1"} {
		put(t, s, Write{Key: Key{"core/pods", k[:len(k)-2], k[len(k)-1:]}, Body: []byte(k)})
	}
	list := func(sel Selector, o ListOptions) (string, int) {
		t.Helper()
		sel.Kind = "core/pods"
		objs, _, total, err := s.List(sel, o)
		if err != nil {
			t.Fatal(err)
		}
		return names2(objs), total
	}
	for _, c := range []struct {
		sel   Selector
		o     ListOptions
		want  string
		total int
	}{
		{Selector{}, ListOptions{}, " a/1 a/2 a-b/1 b/1 b/2 c/1", 6},
		{Selector{}, ListOptions{Limit: 2}, " a/1 a/2", 6},
		{Selector{}, ListOptions{Limit: 2, After: "a/2"}, " a-b/1 b/1", 4},
		{Selector{Namespace: "b"}, ListOptions{}, " b/1 b/2", 2},
		{Selector{Namespace: "b"}, ListOptions{After: "b/1"}, " b/2", 1},
		{Selector{Namespace: "b", Name: "2"}, ListOptions{}, " b/2", 1},
		{Selector{Name: "1"}, ListOptions{Limit: 1}, " a/1", 4},
		{Selector{Namespace: "zz"}, ListOptions{}, "", 0},
	} {
		if got, total := list(c.sel, c.o); got != c.want || total != c.total {
			t.Errorf("%+v %+v: got%s of %d, want%s of %d", c.sel, c.o, got, total, c.want, c.total)
		}
	}
	past := s.Rev()
	put(t, s, Write{Key: Key{"core/pods", "b", "1"}, Op: Delete, Base: get(s, Key{"core/pods", "b", "1"})})
	put(t, s, Write{Key: Key{"core/pods", "b", "3"}, Body: []byte("new")})
	if got, _ := list(Selector{Namespace: "b"}, ListOptions{At: past}); got != " b/1 b/2" {
		t.Errorf("the past shows%s", got)
	}
	if got, _ := list(Selector{Namespace: "b"}, ListOptions{}); got != " b/2 b/3" {
		t.Errorf("the present shows%s", got)
	}
	_, _, _, err := s.List(Selector{Kind: "core/pods"}, ListOptions{At: s.Rev() + 1})
	wants(t, err, ErrFuture)
	_, _, _, err = s.List(Selector{Kind: "core/pods"}, ListOptions{At: 1})
	wants(t, err, ErrCompacted)
}

func TestSubscriptions(t *testing.T) {
	s := newMesh().add(t, "a")
	ctx := context.Background()
	o := put(t, s, Write{Key: pod("x"), Body: []byte("1")})
	sub, err := s.Subscribe(Selector{Kind: "core/pods"}, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(sub.Initial) != 1 || !reflect.DeepEqual(sub.Initial[0], o) || sub.Rev != o.Rev {
		t.Fatalf("%+v", sub)
	}
	put(t, s, Write{Key: Key{"core/nodes", "", "n"}, Body: []byte("another kind")})
	o2 := put(t, s, Write{Key: pod("x"), Base: o, Body: []byte("2")})
	s.Touch(pod("x"), pod("absent"))
	put(t, s, Write{Key: pod("x"), Base: o2, Op: Delete}) // a touch is no conflict
	var evs []Event
	for len(evs) < 3 {
		more, err := sub.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		evs = append(evs, more...)
	}
	if !reflect.DeepEqual(evs[0].Old, o) || !reflect.DeepEqual(evs[0].New, o2) || evs[1].New.UID != o.UID || evs[1].New.Rev <= o2.Rev || evs[2].New != nil || !reflect.DeepEqual(evs[2].Old, evs[1].New) || len(evs) != 3 {
		t.Fatalf("%+v", evs)
	}
	late, err := s.Subscribe(Selector{Kind: "core/pods"}, o2.Rev, false)
	if err != nil {
		t.Fatal(err)
	}
	if more, err := late.Next(ctx); err != nil || len(more) != 2 || !reflect.DeepEqual(more[0], evs[1]) {
		t.Fatalf("%v %v", more, err)
	}
	late.Close()
	if _, err := late.Next(ctx); err != context.Canceled {
		t.Fatal(err)
	}
	_, err = s.Subscribe(Selector{Kind: "core/pods"}, s.Rev()+1, false)
	wants(t, err, ErrFuture)
	put(t, s, Write{Key: pod("y"), Body: []byte("1")})
	for range maxQueued {
		s.Touch(pod("y"))
	}
	_, err = sub.Next(ctx)
	wants(t, err, ErrCompacted)
	sub.Close()
}

func TestLogForgets(t *testing.T) {
	v := newView(10)
	show := func(i int) {
		v.show(&shown{key: pod("x"), row: &row{whole: &Object{Key: pod("x"), UID: "u", version: []Dot{{"a", uint64(i)}}}}})
	}
	for i := range maxLog + 100 {
		show(i + 1)
	}
	if err := v.holds(10 + 99); err == nil {
		t.Fatal("a forgotten revision passes")
	}
	if evs := v.since(Selector{Kind: "core/pods"}, 10+100); len(evs) != maxLog || evs[0].Rev != 111 {
		t.Fatalf("%d events", len(evs))
	}
}

// TestLogIsBoundedInTime: what changed an hour ago must not be remembered for an hour; what changed just now must be, and in a quiet
// mesh the last changes are, however old.
func TestLogIsBoundedInTime(t *testing.T) {
	v := newView(10)
	n := uint64(0)
	show := func(times int) {
		for range times {
			n++
			v.show(&shown{key: pod("x"), row: &row{whole: &Object{Key: pod("x"), UID: "u", version: []Dot{{"a", n}}}}})
		}
	}
	kept := func(want int) {
		t.Helper()
		if got := len(v.since(Selector{Kind: "core/pods"}, v.oldest)); got != want || len(v.log)-v.first != want {
			t.Fatalf("%d events, want %d", got, want)
		}
	}
	now := time.Unix(1e9, 0)
	pass := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); now = now.Add(tickEvery) {
			v.age(now)
		}
	}
	pass(time.Minute)
	show(3 * minLog)
	pass(maxLogAge / 2)
	show(minLog + 1)
	kept(4*minLog + 1)
	pass(maxLogAge * 7 / 10)
	kept(minLog + 1)
	pass(2 * maxLogAge)
	kept(minLog)
	if err := v.holds(v.oldest - 1); err == nil {
		t.Fatal("a forgotten revision passes")
	}
	if len(v.log) > 3*minLog || len(v.eras) > 11 {
		t.Errorf("room for %d events and %d moments", len(v.log), len(v.eras))
	}
	now = now.Add(-24 * time.Hour) // somebody set the clock
	show(minLog)
	pass(2 * maxLogAge)
	kept(minLog)
}

// TestLogIsBoundedInBytes: a large object that is written all the time must not fill the memory with what it was.
func TestLogIsBoundedInBytes(t *testing.T) {
	v := newView(10)
	const size = 1 << 20
	body := make([]byte, size)
	for i := range 3 * maxLogBytes / size {
		body = append(make([]byte, 0, size), body...)
		o := &Object{Key: pod("x"), UID: "u", version: []Dot{{"a", uint64(i + 1)}}}
		o.Bodies[Intent] = body
		v.show(&shown{key: o.Key, row: &row{whole: o}})
		v.touch([]Key{o.Key}) // costs no body
	}
	evs := v.since(Selector{Kind: "core/pods"}, v.oldest)
	if n := len(evs); v.held > maxLogBytes || n < 2*maxLogBytes/size*9/10 || n > 2*maxLogBytes/size {
		t.Fatalf("%d events that hold %d bytes", n, v.held)
	}
	if err := v.holds(v.oldest - 1); err == nil {
		t.Fatal("a forgotten revision passes")
	}
	if evs[0].Rev != v.oldest+1 || evs[len(evs)-1].Rev != v.rev {
		t.Fatalf("events from %d to %d, the log has %d to %d", evs[0].Rev, evs[len(evs)-1].Rev, v.oldest+1, v.rev)
	}
}

// TestTree: the persistent tree is a sorted set with right counts and sums, and its snapshots do not move.
func TestTree(t *testing.T) {
	const most = 20 * maxLeaf
	rapid.Check(t, func(rt *rapid.T) {
		var tree, old *node[*Record]
		model := map[Stamp]*Record{}
		oldSize := 0
		for i := range rapid.IntRange(1, 40).Draw(rt, "n") {
			at, n := rapid.IntRange(0, most).Draw(rt, "stamp"), rapid.IntRange(1, 4*maxLeaf).Draw(rt, "length")
			step := rapid.IntRange(1, 3).Draw(rt, "step")
			remove := rapid.IntRange(0, 2).Draw(rt, "delete") == 0
			for s := Stamp(at); s < Stamp(min(at+n, most)); s += Stamp(step) {
				r := &Record{Stamp: s}
				if r.hash[0] = byte(s); remove {
					tree = tree.without(r)
					delete(model, s)
				} else {
					tree = tree.with(r)
					model[s] = r
				}
			}
			if i == 20 {
				old, oldSize = tree, tree.size()
			}
		}
		var want sum
		n := 0
		for s := range Stamp(most) {
			if k, got := tree.before(&Record{Stamp: s}); k != n || got != want {
				rt.Fatalf("before %d: %d, want %d", s, k, n)
			}
			if r := model[s]; r != nil {
				if got, ok := tree.get(r); !ok || got.Stamp != s || tree.at(n).Stamp != s {
					rt.Fatalf("%d is not where it belongs", s)
				}
				want, n = want.plus(r.weight()), n+1
			}
		}
		if tree.size() != n || tree.total() != want || old.size() != oldSize {
			rt.Fatalf("size %d, want %d", tree.size(), n)
		}
		seen := 0
		old.all(func(*Record) bool { seen++; return true })
		if seen != oldSize {
			rt.Fatalf("a snapshot of %d has %d", oldSize, seen)
		}
		if leaves := well(rt, tree); leaves > 8 && depth(tree) > 2*bits(leaves)+2 {
			rt.Fatalf("depth %d of %d leaves", depth(tree), leaves)
		}
		i, j := rand.IntN(n+1), rand.IntN(n+1)
		got := 0
		tree.slice(i, j, func(r *Record) bool { got++; return r.compare(tree.at(i+got-1)) == 0 })
		if got != max(j-i, 0) {
			rt.Fatal(fmt.Sprint("slice ", i, j, got))
		}
	})
}

// well counts the leaves of a tree that is well formed.
func well(rt *rapid.T, t *node[*Record]) (leaves int) {
	switch {
	case t == nil:
		return 0
	case t.leaf != nil:
		leaves = 1
	default:
		leaves = well(rt, t.l) + well(rt, t.r)
	}
	if t.leaf != nil && (t.l != nil || t.n != len(t.leaf) || t.n > maxLeaf) || t.leaf == nil && t.n != t.l.n+t.r.n || t.leaves != leaves || t.first != t.at(0) {
		rt.Fatalf("%+v has %d leaves", t, leaves)
	}
	return leaves
}

// TestTreeFilledInOrderIsDense: records come in the order of their stamps, and what they cost must not double for it.
func TestTreeFilledInOrderIsDense(t *testing.T) {
	var tree *node[*Record]
	for s := range Stamp(100 * maxLeaf) {
		tree = tree.with(&Record{Stamp: s})
	}
	if tree.leaves != 100 || depth(tree) > 12 {
		t.Errorf("%d leaves %d deep", tree.leaves, depth(tree))
	}
	for s := range Stamp(100 * maxLeaf) {
		if s%16 != 0 {
			tree = tree.without(&Record{Stamp: s})
		}
	}
	if tree.n != 100*maxLeaf/16 || tree.leaves > 100/4 {
		t.Errorf("%d leaves of %d elements", tree.leaves, tree.n)
	}
}

func depth[T element[T]](t *node[T]) int {
	if t == nil {
		return 0
	}
	return 1 + max(depth(t.l), depth(t.r))
}

func bits(n int) (b int) {
	for ; n > 0; n >>= 1 {
		b++
	}
	return b
}
