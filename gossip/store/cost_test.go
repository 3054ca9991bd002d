package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// twins opens two stores that hold the same n records.
func twins(t testing.TB, n, size int) (a, b *Store) {
	t.Helper()
	m, one, two := newMesh(), t.TempDir(), t.TempDir()
	m.mute = true
	plant(t, one, n, size)
	file, err := os.ReadFile(filepath.Join(one, "store.db"))
	if err == nil {
		err = os.WriteFile(filepath.Join(two, "store.db"), file, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return start(t, m.config("a", one)), start(t, m.config("b", two))
}

// TestReconciliationCosts: bytes in both directions, also where there are 100,000 records.
func TestReconciliationCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("100,000 records")
	}
	a, b := twins(t, many, 100)
	cost := func() (bytes int64, records int) {
		t.Helper()
		st, _ := reconcile(t, a, b)
		equalRoots(t, a, b)
		return st.In + st.Out, st.Merged + st.Sent
	}
	if n, _ := cost(); n > 200 {
		t.Errorf("equal stores: %d bytes, want at most 200", n)
	} else {
		t.Logf("equal stores: %d bytes", n)
	}
	// A difference in the midst of what is old, and one among the newest.
	for _, name := range []string{"p-031415", "p-099999"} {
		put(t, b, Write{Key: pod(name), Part: Status, Base: get(b, pod(name)), Body: []byte("ok")})
		n, records := cost()
		if n > 4000 || records != 1 {
			t.Errorf("one difference in %d: %d bytes and %d records, want at most 4000 and 1", many, n, records)
		}
		t.Logf("one difference in %d: %d bytes", many, n)
	}
	own := int64(0)
	errs := make(chan error, 1000)
	for i := range 1000 {
		go func() {
			_, err := b.Write(context.Background(), Write{Key: pod(fmt.Sprintf("new-%04d", i)), Body: noise(500), Generated: true})
			errs <- err
		}()
	}
	for range 1000 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	b.known.Load().set.all(func(r *Record) bool {
		if len(r.Name) == len("new-0000") && r.Name[:4] == "new-" {
			own += int64(r.size())
		}
		return true
	})
	n, records := cost()
	if n > 2*own || records != 1000 {
		t.Errorf("1000 recent differences of %d bytes: %d bytes, %d records", own, n, records)
	}
	t.Logf("1000 recent differences of %d bytes: %d bytes (%.3f times)", own, n, float64(n)/float64(own))
}

// TestBootstrapResumes: a joiner whose transfer broke off does not get again what it has.
func TestBootstrapResumes(t *testing.T) {
	m := newMesh()
	m.mute = true
	dir := t.TempDir()
	plant(t, dir, 20_000, 300)
	full := start(t, m.config("a", dir))
	cfg := m.config("b", t.TempDir())
	cfg.Verify = func(string, []byte, []byte) error { return nil } // what was planted is not signed
	joiner := start(t, cfg)
	st := broken(t, joiner, full, 3_000_000)
	_, has := joiner.Root()
	if has == 0 || has == 20_000 {
		t.Fatalf("%d records came before the break: %+v", has, st)
	}
	st, _ = reconcile(t, joiner, full)
	equalRoots(t, joiner, full)
	if missing := 20_000 - has; st.Received > missing+sendRecords {
		t.Errorf("%d records were missing, %d were sent again", missing, st.Received)
	}
	t.Logf("broke off after %d records; %d bytes for the other %d", has, st.In+st.Out, 20_000-has)
}
