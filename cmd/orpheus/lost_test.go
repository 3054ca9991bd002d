package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node"
	"github.com/orpheus-mesh/orpheus/node/control"
)

// attic is a daemon that is nothing but a store's lost-and-found.
type attic struct {
	control.Daemon
	store *store.Store
}

func (a attic) Lost(ctx context.Context) ([]control.Lost, error) {
	all, err := a.store.Lost(ctx)
	var out []control.Lost
	for _, l := range all {
		out = append(out, control.Lost{ID: l.ID, Kind: l.Kind, Namespace: l.Namespace, Name: l.Name, What: "a person's edit", Why: "late",
			Edit: control.Edit{Author: l.Author, Time: l.Time, Body: string(l.Body)}})
	}
	return out, err
}

func (a attic) AdmitLost(ctx context.Context, id string, replace bool) error {
	return a.store.Admit(ctx, id, replace)
}

func (a attic) DropLost(ctx context.Context, id string) error { return a.store.Drop(ctx, id) }

func settingsMap(name string) store.Key {
	return store.Key{Kind: "core/configmaps", Namespace: "default", Name: name}
}

// belated runs a store that has forgotten what it deleted a month ago, and to which an old backup brought it back.
func belated(t *testing.T, names ...string) *store.Store {
	t.Helper()
	var ahead atomic.Int64
	s, err := store.Open(store.Config{
		Dir: t.TempDir(), Self: "a", Home: func(store.Key) string { return "a" }, Members: func() []string { return []string{"a"} },
		Sign: func([]byte) ([]byte, error) { return []byte("a"), nil }, Verify: func(string, []byte, []byte) error { return nil },
		Publish: func([]byte) {}, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	during(t, s.Run)
	edit := func(name string, op store.Op) {
		t.Helper()
		w := store.Write{Key: settingsMap(name), Op: op, Body: []byte(`{"data":"` + name + `"}`), Human: true}
		if w.Base, _ = s.Get(w.Key); op == store.Delete {
			w.Body = nil
		}
		for { // until it runs
			if _, err := s.Write(t.Context(), w); err == nil {
				return
			} else if !strings.Contains(err.Error(), store.ErrStopped.Error()) {
				t.Fatal(err)
			}
		}
	}
	var backup bytes.Buffer
	for _, n := range names {
		edit(n, store.Put)
	}
	if _, err := s.Snapshot(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		edit(n, store.Delete)
	}
	ahead.Add(int64(31 * 24 * time.Hour))
	for _, n := s.Root(); n > 0; _, n = s.Root() { // sweeps are ten minutes apart
		ahead.Add(int64(11 * time.Minute))
		select {
		case <-time.After(time.Second):
		case <-t.Context().Done():
			t.Fatal("the tombstones stay")
		}
	}
	r, err := store.OpenSnapshot(&backup)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.Merge(t.Context(), r); err != nil || m.Lost != len(names) {
		t.Fatalf("%+v, %v", m, err)
	}
	return s
}

// during runs something until the test ends.
func during(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What `orpheus lost-and-found` says and does, over the control socket, with a real store behind it.
func TestLostAndFoundFromTheCommandLine(t *testing.T) {
	s := belated(t, "one", "two", "three", "four")
	dir := t.TempDir()
	during(t, func(ctx context.Context) error {
		return control.Serve(ctx, node.Socket(dir), attic{store: s}, slog.New(slog.DiscardHandler))
	})
	client := control.Dial(node.Socket(dir))
	for _, err := client.Lost(t.Context()); err != nil && t.Context().Err() == nil; _, err = client.Lost(t.Context()) { // until it serves
		continue
	}
	run := func(args ...string) (string, error) {
		cmd := root()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append([]string{"lost-and-found", "--run-dir", dir}, args...))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	ids := map[string]string{}
	list := func() string {
		t.Helper()
		out, err := run()
		if err != nil {
			t.Fatal(err)
		}
		clear(ids)
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 2 && f[0] != "ID" {
				ids[strings.TrimPrefix(f[2], "default/")] = f[0]
			}
		}
		return out
	}
	if out := list(); len(ids) != 4 || !strings.Contains(out, "a person's edit") || !strings.Contains(out, "late") {
		t.Fatalf("lists %s", out)
	}
	if out, err := run("show", ids["two"]); err != nil || !strings.Contains(out, "core/configmaps default/two") || !strings.Contains(out, `{"data":"two"}`) {
		t.Errorf("shows %s, %v", out, err)
	}

	if out, err := run("admit", ids["one"]); err != nil || out != ids["one"]+" admitted\n" {
		t.Errorf("admit says %q, %v", out, err)
	}
	if o, _ := s.Get(settingsMap("one")); o == nil || string(o.Bodies[store.Intent]) != `{"data":"one"}` {
		t.Errorf("admitted as %+v", o)
	}
	if out, err := run("drop", ids["two"]); err != nil || out != ids["two"]+" dropped\n" {
		t.Errorf("drop says %q, %v", out, err)
	}
	gone := ids["two"]
	if out := list(); len(ids) != 2 || strings.Contains(out, "default/one") || strings.Contains(out, "default/two") {
		t.Errorf("then lists %s", out)
	}

	if _, err := s.Write(t.Context(), store.Write{Key: settingsMap("three"), Body: []byte("another"), Human: true}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"show", gone}, []string{gone, "`orpheus lost-and-found` lists them"}},
		{[]string{"show", ""}, []string{"`orpheus lost-and-found` lists them"}},
		{[]string{"drop", gone}, []string{gone, "`orpheus lost-and-found` lists them"}},
		{[]string{"admit", "no/such"}, []string{"no/such", "`orpheus lost-and-found` lists them"}},
		{[]string{"admit", ids["three"]}, []string{ids["three"], "an object of that name lives", "replace it, or drop the entry"}},
		{[]string{"admit", "--all"}, []string{"1 of 2 entries stay"}},
		{[]string{"admit"}, []string{"name entries, or give --all"}},
		{[]string{"admit", "--all", gone}, []string{"name entries, or give --all"}},
	} {
		_, err := run(c.args...)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", c.args, err, want)
			}
		}
	}
	if o, _ := s.Get(settingsMap("four")); o == nil {
		t.Error("--all did not admit what could be")
	}
	if out, err := run("admit", "--replace", ids["three"]); err != nil {
		t.Errorf("%s, %v", out, err)
	}
	if o, _ := s.Get(settingsMap("three")); o == nil || string(o.Bodies[store.Intent]) != `{"data":"three"}` {
		t.Errorf("replaced by %+v", o)
	}
	if out := list(); out != "lost-and-found is empty\n" {
		t.Errorf("at the end it lists %s", out)
	}
}
