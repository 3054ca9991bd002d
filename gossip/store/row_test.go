package store

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRowsShowWhatIsThere: what is made of an object's records whenever somebody asks equals what the whole life shows.
func TestRowsShowWhatIsThere(t *testing.T) {
	cfg := newMesh().config("a", t.TempDir())
	c := newCore(&cfg)
	key, owner := pod("x"), Key{"apps/deployments", "default", "owner"}
	e := c.entry(key)
	shows := func(what string) {
		t.Helper()
		r, living := e.row(), e.living()
		if r.whole != nil || len(living) != 1 {
			t.Fatalf("%s: more than one version", what)
		}
		if got, want := r.object(), e.join(living); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the row shows %+v\nthe life %+v", what, got, want)
		}
		if r := r.at(7, 3); r.object().Rev != 7 || r.object().Created != 3 || !r.same(e.row()) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	write := func(w Write) {
		t.Helper()
		w.Key = key
		ev := event{id: 1, write: &w, base: e.version()}
		if w.Base = e.project(); w.Base == nil {
			ev.base = nil
		}
		c.Step(time.Unix(1e9, 0), ev)
	}
	write(Write{Body: []byte("1"), Human: true, Root: owner, Head: Head{Generation: 1}})
	shows("a creation")
	write(Write{Body: []byte("2"), Head: Head{Generation: 2, Removed: []string{"f"}}})
	shows("a write")
	write(Write{Part: Status, Body: []byte("3")})
	write(Write{Part: Observation, Body: []byte("4")})
	shows("three parts")
	write(Write{Body: []byte("5"), Head: Head{Generation: 3, DeletionTime: 9, DeletionGrace: 2, Removed: []string{"f"}}})
	shows("a deletion under way")
	if o := e.row().object(); o.Root != owner || o.Head.DeletionTime != 9 || string(o.Bodies[Status]) != "3" || len(o.version) != 3 {
		t.Errorf("%+v", o)
	}
}

// TestCountsAreThoseOfWhatTheAuthorKnew: adding up without making the knowledge gives the same.
func TestCountsAreThoseOfWhatTheAuthorKnew(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := func(most uint64, what string) uint64 { return rapid.Uint64Range(0, most).Draw(rt, what) }
		r := &Record{Dot: Dot{"b", 9}, raised: n(5, "raised"), wrote: n(5, "wrote")}
		for _, actor := range []string{"a", "b", "c"} {
			if n(1, "knows") == 1 {
				r.context = append(r.context, known{actor: actor, seen: n(8, "seen"), raised: n(5, "raised"), wrote: n(5, "wrote")})
			}
		}
		wantRaised, wantWrote := r.after().counts()
		if raised, wrote := r.counts(); raised != wantRaised || wrote != wantWrote {
			rt.Fatalf("%+v: raised %d, wrote %d, want %d and %d", r.context, raised, wrote, wantRaised, wantWrote)
		}
	})
}
