package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// child is another process that writes as fast as it can and prints the name of what was acknowledged.
func child() {
	s, err := Open(newMesh().config("a", os.Getenv("STORE_CHILD")))
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(s.Run(context.Background())) }()
	for !s.running.Load() {
		time.Sleep(time.Millisecond)
	}
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s-%d-%d", os.Getenv("STORE_ROUND"), w, i)
				o, err := s.Write(context.Background(), Write{Key: pod(name), Body: []byte(name)})
				if err != nil {
					log.Fatal(err)
				}
				mu.Lock()
				fmt.Fprintf(out, "%s %d\n", name, o.Rev)
				out.Flush()
				mu.Unlock()
			}
		}()
	}
	select {}
}

func TestKillMinusNine(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	high := Revision(0)
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "STORE_CHILD="+dir, fmt.Sprintf("STORE_ROUND=%d", round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var name string
			var rev Revision
			if k, _ := fmt.Sscan(lines.Text(), &name, &rev); k < 2 {
				continue // cut short by the kill: not acknowledged to anybody
			}
			if round > 0 && n == 0 && rev <= high {
				t.Fatalf("revision %d after %d of the life before", rev, high)
			}
			high = max(high, rev)
			acked[name] = true
			if n == 150+40*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
	}
	s := start(t, newMesh().config("a", dir))
	for name := range acked {
		if o := get(s, pod(name)); o == nil || string(o.Bodies[Intent]) != name {
			t.Fatalf("acknowledged %s is lost", name)
		}
	}
	if len(acked) < 500 {
		t.Fatalf("only %d acknowledged", len(acked))
	}
	dots := map[uint64]bool{}
	s.known.Load().set.all(func(r *Record) bool {
		if dots[r.Dot.N] {
			t.Errorf("counter %d was used twice", r.Dot.N)
		}
		dots[r.Dot.N] = true
		return true
	})
}

func TestCorruptFileIsQuarantined(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"record": func(t *testing.T, path string) { flip(t, path, "a body that can be found") },
		"no database": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("not a database at all"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"cut short": func(t *testing.T, path string) {
			if err := os.Truncate(path, 4*4096); err != nil {
				t.Fatal(err)
			}
		},
		"zeroes": func(t *testing.T, path string) {
			if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, dir := newMesh(), t.TempDir()
			m.mute = true
			b := m.add(t, "b")
			s, err := Open(m.config("a", dir))
			if err != nil {
				t.Fatal(err)
			}
			stop := run(t, s)
			fill(t, s, "many", 200)
			put(t, s, Write{Key: pod("x"), Body: []byte("a body that can be found")})
			reconcile(t, s, b)
			counter := s.known.Load().set.size()
			stop()
			path := filepath.Join(dir, "store.db")
			damage(t, path)
			s = start(t, m.config("a", dir))
			if q := s.Quarantined(); !strings.HasPrefix(q, path+".corrupt-") {
				t.Fatalf("quarantined %q", q)
			}
			if _, err := os.Stat(s.Quarantined()); err != nil {
				t.Fatal(err)
			}
			if _, n := s.Root(); n != 0 {
				t.Fatalf("%d records from a corrupt file", n)
			}
			reconcile(t, s, b) // rebuilt from a peer
			if _, n := s.Root(); n != counter || get(s, pod("x")) == nil {
				t.Fatalf("%d records of %d came back", n, counter)
			}
			put(t, s, Write{Key: pod("y"), Body: []byte("y")})
		})
	}
}

func TestALossIsToldUntilSomebodyLooked(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "store.db"), []byte("not a database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() string {
		s, err := Open(Config{Dir: dir, Self: "a"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Quarantined()
	}
	first := open()
	if again := open(); first == "" || again != first {
		t.Fatalf("told %q, in the next life %q", first, again)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if q := open(); q != "" {
		t.Fatalf("still told: %q", q)
	}
}

func flip(t *testing.T, path, text string) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for found := 0; ; found++ {
		i := strings.Index(string(b), text)
		if i < 0 {
			if found == 0 {
				t.Fatal("the body is not in the file")
			}
			break
		}
		b[i] ^= 1 // in every page that has it: which one is current is bbolt's affair
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	m, dir := newMesh(), t.TempDir()
	start(t, m.config("a", dir))
	if _, err := Open(m.config("a", dir)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("got %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1200k"); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 500<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(newMesh().config("a", dir))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	ctx := context.Background()
	acked := 0
	for ; acked < 200; acked++ {
		if _, err = s.Write(ctx, Write{Key: pod(fmt.Sprint(acked)), Body: make([]byte, 16<<10)}); err != nil {
			break
		}
	}
	wants(t, err, ErrReadOnly)
	wants(t, s.Health(), ErrReadOnly)
	if !strings.Contains(s.Health().Error(), "no space left") {
		t.Fatalf("the reason is missing: %v", s.Health())
	}
	_, err = s.Write(ctx, Write{Key: pod("refused"), Body: []byte("x")})
	wants(t, err, ErrReadOnly)
	put(t, s, Write{Key: Key{"derived/slices", "n", "s"}, Body: []byte("memory takes writes")})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.Health() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not recover: %v", s.Health())
		}
	}
	put(t, s, Write{Key: pod("after"), Body: []byte("x")})
	stop()
	s = start(t, newMesh().config("a", dir))
	for i := range acked {
		if get(s, pod(fmt.Sprint(i))) == nil {
			t.Fatalf("acknowledged %d is lost", i)
		}
	}
	if get(s, pod("after")) == nil || get(s, pod("refused")) != nil {
		t.Fatal("after recovery")
	}
}

// TestFailedSyncStops: a closed file stands for a disk that fails: Run must end with the error, and writers be told.
func TestFailedDiskStops(t *testing.T) {
	s, err := Open(newMesh().config("a", t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.disk.db.Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	for !s.running.Load() {
		time.Sleep(time.Millisecond)
	}
	_, err = s.Write(context.Background(), Write{Key: pod("x"), Body: []byte("x")})
	wants(t, err, ErrStopped)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "disk") {
		t.Fatalf("Run returned %v", err)
	}
	if fullDisk(errors.New("x")) || fullDisk(syscall.ENOSPC) || !fullDisk(&os.PathError{Op: "write", Err: syscall.ENOSPC}) {
		t.Fatal("only a write may be retried, never a sync")
	}
}
