package store

import (
	"encoding/binary"
	"testing"
	"time"
)

// numbered is a record that differs from others by its number, by which it is older or younger, too.
func numbered(t *testing.T, n, body int) *Record {
	t.Helper()
	k := pod("x")
	r := &Record{Key: k, Root: k, Dot: Dot{"bob", uint64(n + 1)}, Stamp: stampOf0(1_700_000_000_000 + uint64(n)), Body: make([]byte, body)}
	binary.BigEndian.PutUint64(r.UID[:], uint64(n))
	if err := r.seal(nil); err != nil {
		t.Fatal(err)
	}
	return r
}

// Lost-and-found keeps the newest, also over a restart.
func TestLostAndFoundIsBounded(t *testing.T) {
	dir := t.TempDir()
	for _, part := range [][2]int{{0, maxLost - 3}, {maxLost - 3, maxLost + 7}} {
		d, _, _, _, err := openDisk(dir, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b := &batch{}
		for n := part[0]; n < part[1]; n++ {
			b.lose = append(b.lose, numbered(t, n, 8))
		}
		if err := d.commit(b); err != nil {
			t.Fatal(err)
		}
		all, err := d.found()
		if want := min(part[1], maxLost); err != nil || len(all) != want || d.lost != want || all[0].rec.Dot.N != uint64(part[1]-want+1) {
			t.Errorf("%d entries, counted as %d, %v", len(all), d.lost, err)
		}
		if err := d.db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Of one object's writes whose fate is unknown the latest are remembered: the next write has to cover those.
func TestDoubtIsBounded(t *testing.T) {
	l := newLab(t, "a")
	_ = l.do("a", Write{Key: pod("x"), Body: []byte("1")})
	a := l.cores["a"]
	life := a.known(pod("x")).living()[0]
	for n := range maxDoubt + 5 {
		r := numbered(t, n, 8)
		r.UID = life.uid
		a.doubt([]*Record{r})
	}
	if n := len(life.doubt); n != maxDoubt || life.doubt[n-1].Dot.N != maxDoubt+5 {
		t.Errorf("%d writes in doubt", n)
	}
}

// What was purged is remembered as dead for a while, the oldest leaving first; what nobody purged stays.
func TestTheBuriedAreBounded(t *testing.T) {
	v, uid := newView(1), func(n int) (u UID) { binary.BigEndian.PutUint64(u[:], uint64(n)); return u }
	v.bury(&shown{dead: []UID{uid(1 << 40)}})
	for n := range maxBuried + 100 {
		v.bury(&shown{dead: []UID{uid(n)}})
		v.bury(&shown{purged: []UID{uid(n)}})
	}
	_, oldest := v.dead[uid(99)]
	_, next := v.dead[uid(100)]
	_, unpurged := v.dead[uid(1<<40)]
	if len(v.buried) != maxBuried || len(v.dead) != maxBuried+1 || oldest || !next || !unpurged {
		t.Errorf("%d buried, %d dead, %v %v %v", len(v.buried), len(v.dead), oldest, next, unpurged)
	}
}

// So do those that larger ones of their own lives replace.
func TestTheHeldAreBoundedAlsoWhereOneReplacesAnother(t *testing.T) {
	h := newHolding()
	for round, body := range []int{8, 1 << 20} {
		for n := range 80 {
			r := numbered(t, n+80*round, body)
			r.Part = Status
			binary.BigEndian.PutUint64(r.UID[:], uint64(n))
			h.add(r, maxHeld)
			if h.bytes > maxHeldBytes || len(h.order) > 80 {
				t.Fatalf("%d records of %d bytes are held", len(h.order), h.bytes)
			}
		}
	}
	if last := h.order[len(h.order)-1].Dot.N; last != 160 || len(h.byLife) != len(h.order) {
		t.Errorf("%d lives, %d records, the last is %d", len(h.byLife), len(h.order), last)
	}
}

// Statuses that wait for their object take no more bytes than they may, nor more places.
func TestTheHeldAreBounded(t *testing.T) {
	for _, c := range []struct{ records, body, most int }{{80, 1 << 20, maxHeld}, {300, 8, 100}} {
		h := newHolding()
		for n := range c.records {
			r := numbered(t, n, c.body)
			r.Part = Status
			h.add(r, c.most)
			if h.bytes > maxHeldBytes || len(h.order) > c.most {
				t.Fatalf("%d records of %d bytes are held", len(h.order), h.bytes)
			}
		}
		bytes := 0
		for _, r := range h.order {
			bytes += r.size()
		}
		if first := h.order[0].Dot.N; bytes != h.bytes || len(h.byLife) != len(h.order) || first == 1 || h.order[len(h.order)-1].Dot.N != uint64(c.records) {
			t.Errorf("%d bytes counted as %d, of %d lives, the first is %d", bytes, h.bytes, len(h.byLife), first)
		}
	}
}
