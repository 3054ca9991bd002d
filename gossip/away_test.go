package gossip

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// calendar is the clock by which all stores of a test date what they write: months pass when it is told so.
type calendar struct{ ahead atomic.Int64 }

func (c *calendar) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *calendar) pass(d time.Duration) { c.ahead.Add(int64(d)) }

// config is configure with stores that go by the calendar.
func (c *calendar) config(t *testing.T, name string) Config {
	t.Helper()
	cfg := configure(t, name)
	cfg.Store.Now = c.now
	return cfg
}

func named(name string) store.Key { return store.Key{Kind: thing.Kind, Name: name} }

// edit writes, or deletes, as a person who has seen what this server shows.
func (m *Mesh) edit(t *testing.T, w store.Write) {
	t.Helper()
	w.Human = true
	w.Base, _ = m.Store().Get(w.Key)
	if _, err := m.Store().Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

func (s *server) holds() int { _, n := s.Store().Root(); return n }

func (s *server) shows(name string) string {
	o, _ := s.Store().Get(named(name))
	if o == nil {
		return ""
	}
	return string(o.Bodies[store.Intent])
}

// lost is the entry of lost-and-found of that name and body; nil where there is none.
func (s *server) lost(name, body string) *store.Lost {
	s.t.Helper()
	all, err := s.Store().Lost(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range all {
		if l.Name == name && string(l.Body) == body {
			return &l
		}
	}
	return nil
}

// A member that said goodbye comes back after the others have forgotten what they deleted meanwhile: with the objects, with edits of them and
// with some that it made. Nothing comes to life again; a person finds all of it in lost-and-found, takes one back for everybody and throws
// another away.
func TestWhatComesBackTooLateIsForAPersonToDecide(t *testing.T) {
	var days calendar
	cfg := days.config(t, "n0")
	if err := Create(cfg); err != nil {
		t.Fatal(err)
	}
	first := start(t, cfg)
	enter := func(name string) *server {
		cfg := days.config(t, name)
		if err := Join(t.Context(), cfg, first.token()); err != nil {
			t.Fatal(err)
		}
		return start(t, cfg)
	}
	second, away := enter("n1"), enter("n2")
	for _, name := range []string{"kept", "deleted", "edited", "dropped"} {
		first.put(name, name)
	}
	agree(t, 20*time.Second, first, second, away)
	if err := away.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	away.end()
	for _, s := range []*server{first, second} {
		s.await(away, Left, 20*time.Second)
	}

	days.pass(time.Minute)
	apart, stop := alone(t, away.cfg)
	apart.edit(t, store.Write{Key: named("edited"), Body: []byte("edited while away")})
	apart.edit(t, store.Write{Key: named("made"), Body: []byte("made while away")})
	days.pass(time.Minute)
	had := first.holds()
	for _, name := range []string{"deleted", "edited", "dropped"} {
		first.edit(t, store.Write{Key: named(name), Op: store.Delete})
	}
	agree(t, 10*time.Second, first, second)
	days.pass(time.Minute)
	apart.edit(t, store.Write{Key: named("later"), Body: []byte("made after the last deletion")})
	stop()

	days.pass(31 * 24 * time.Hour)
	purged := func() bool { return first.holds() == had-3 && second.holds() == had-3 }
	for range 30 {
		if purged() {
			break
		}
		first.catchUp(second.Self().ID) // what each one holds travels with reconciliations
		time.Sleep(1200 * time.Millisecond)
		days.pass(11 * time.Minute) // to the next sweep
	}
	if !purged() {
		t.Fatalf("the tombstones stay: %d and %d records of %d", first.holds(), second.holds(), had)
	}

	away = start(t, away.cfg)
	all := []*server{first, second, away}
	agree(t, 20*time.Second, all...)
	late := map[string]string{"deleted": "deleted", "dropped": "dropped", "edited": "edited while away", "made": "made while away"}
	for _, s := range all {
		s.sees("later", "made after the last deletion", 10*time.Second)
		if s.shows("kept") != "kept" {
			t.Errorf("%s lost what nobody deleted", s.cfg.Name)
		}
		for name, body := range late {
			if got := s.shows(name); got != "" {
				t.Errorf("%s shows %s: %q", s.cfg.Name, name, got)
			}
			if s == away && s.lost(name, body) == nil { // whoever it reconciled with has it too, maybe not both
				t.Errorf("%s of %s is not in lost-and-found of %s", body, name, s.cfg.Name)
			}
		}
	}
	if t.Failed() {
		return
	}

	edited, dropped := away.lost("edited", "edited while away"), away.lost("dropped", "dropped")
	if !edited.Human || edited.Author != string(away.Self().ID) || edited.Damaged {
		t.Errorf("the edit is told of as %+v", edited)
	}
	if err := away.Admit(t.Context(), edited.ID, false); err != nil {
		t.Fatal(err)
	}
	if err := away.Store().Drop(t.Context(), dropped.ID); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		s.sees("edited", "edited while away", 20*time.Second)
	}
	agree(t, 20*time.Second, all...)
	if away.lost("edited", "edited while away") != nil || away.lost("dropped", "dropped") != nil {
		t.Error("what a person decided about is still an entry")
	}
	for _, s := range all {
		if s.shows("dropped") != "" {
			t.Errorf("what was dropped is back on %s", s.cfg.Name)
		}
	}
	for _, err := range []error{away.Store().Drop(t.Context(), dropped.ID), away.Admit(t.Context(), "none", false)} {
		if !errors.Is(err, store.ErrNotLost) || !strings.Contains(err.Error(), "`orpheus lost-and-found`") {
			t.Errorf("an entry that is not there: %v", err)
		}
	}
}
