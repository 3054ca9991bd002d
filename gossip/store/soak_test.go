package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// cycles is how often the crash tests crash: STORE_SOAK (make soak: 1,000), else a few.
func cycles(few int) int {
	if n, err := strconv.Atoi(os.Getenv("STORE_SOAK")); err == nil {
		return n
	}
	return few
}

// TestSoakKillMinusNine kills a process that writes, at any moment, again and again on the same directory: every start succeeds, and
// nothing that was acknowledged in any of its lives is lost.
func TestSoakKillMinusNine(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	var acked []string
	n := cycles(3)
	for round := range n {
		acked = append(acked, killed(t, dir, round, 1+r.IntN(60))...)
		if (round+1)%100 == 0 || round == n-1 {
			survived(t, dir, acked)
			t.Logf("%d cycles, %d writes acknowledged, none lost", round+1, len(acked))
		}
	}
}

// killed runs the child until it has acknowledged so many writes and kills it. What it printed before it died counts.
func killed(t *testing.T, dir string, round, after int) (acked []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_CHILD="+dir, fmt.Sprintf("STORE_ROUND=%d", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var name string
		var rev Revision
		if k, _ := fmt.Sscan(lines.Text(), &name, &rev); k < 2 {
			continue // cut short by the kill: not acknowledged to anybody
		}
		if acked = append(acked, name); len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if len(acked) < after {
		t.Fatalf("cycle %d: the start failed, or it wrote only %d", round, len(acked))
	}
	return acked
}

func survived(t *testing.T, dir string, acked []string) {
	t.Helper()
	s, err := Open(newMesh().config("a", dir))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Quarantined() != "" {
		t.Fatal("a kill damaged the file")
	}
	for _, name := range acked {
		if o := get(s, pod(name)); o == nil || string(o.Bodies[Intent]) != name {
			t.Fatalf("acknowledged %s is lost", name)
		}
	}
}

// TestSoakTornWrites cuts the power in the midst of a transaction, in every way in which bbolt lets it happen: its data pages may
// be there or not, or half of one; once all of them were synced, its meta page may be torn. Every start succeeds with all
// that was acknowledged before, and with all of that transaction or nothing.
func TestSoakTornWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	dir, whole, none := t.TempDir(), 0, 0
	counter := uint64(0)
	transaction := func(n int) (b *batch) {
		b = &batch{marks: marks{counter: counter + 1000}}
		for range n {
			counter++
			k := pod(fmt.Sprintf("t-%06d", counter))
			rec := &Record{Key: k, Root: k, UID: newUID(k, nil, nil), Dot: Dot{"a", counter}, Stamp: stampOf0(1_700_000_000_000) + Stamp(counter), Body: noise(r.IntN(6000))}
			if err := rec.seal(nil); err != nil {
				t.Fatal(err)
			}
			b.ops = append(b.ops, diskOp{rec: rec})
		}
		return b
	}
	path := filepath.Join(dir, "store.db")
	for range cycles(20) {
		d, s, quarantined, _, err := openDisk(dir, time.Now())
		if err != nil || quarantined != "" {
			t.Fatalf("the start failed: %v, %q", err, quarantined)
		}
		if len(s.records) > 300 { // or the file grows for ever
			b := transaction(0)
			for _, rec := range s.records {
				b.ops = append(b.ops, diskOp{rec: rec, del: true})
			}
			if err := d.commit(b); err != nil {
				t.Fatal(err)
			}
			s.records = nil
		}
		first := transaction(1 + r.IntN(20))
		if err := d.commit(first); err != nil {
			t.Fatal(err)
		}
		before := read(t, path)
		last := transaction(1 + r.IntN(20))
		if err := d.commit(last); err != nil {
			t.Fatal(err)
		}
		after := read(t, path)
		if err := d.db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, torn(before, after, r), 0o600); err != nil {
			t.Fatal(err)
		}
		d, s, quarantined, _, err = openDisk(dir, time.Now())
		if err != nil || quarantined != "" {
			t.Fatalf("the start after a torn write failed: %v, %q", err, quarantined)
		}
		if err := d.db.Close(); err != nil {
			t.Fatal(err)
		}
		there := map[hash]bool{}
		for _, rec := range s.records {
			there[rec.hash] = true
		}
		if n := count(there, first); n != len(first.ops) {
			t.Fatalf("%d of %d acknowledged records are there", n, len(first.ops))
		}
		switch n := count(there, last); n {
		case 0:
			none++
		case len(last.ops):
			whole++
		default:
			t.Fatalf("%d of %d records of one transaction", n, len(last.ops))
		}
	}
	t.Logf("the torn transaction counted %d times and did not %d times", whole, none)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func count(there map[hash]bool, b *batch) (n int) {
	for _, op := range b.ops {
		if !op.del && there[op.rec.hash] {
			n++
		}
	}
	return n
}

// torn is a file as a power cut may leave it between before and after, which one transaction lies between.
func torn(before, after []byte, r *rand.Rand) []byte {
	size := os.Getpagesize()
	out := make([]byte, len(after)) // the file grows before its pages are written
	copy(out, before)
	meta := 0
	if txid(after[size:]) > txid(after) {
		meta = 1
	}
	synced := r.IntN(3) == 0
	for at := 0; at+size <= len(after); at += size {
		was, is := out[at:at+size], after[at:at+size]
		if bytes.Equal(was, is) || at/size == meta {
			continue
		}
		switch how := r.IntN(4); {
		case synced || how < 2:
			copy(was, is)
		case how == 2: // sectors, in any order
			for s := 0; s < size; s += 512 {
				if r.IntN(2) == 0 {
					copy(was[s:s+512], is[s:s+512])
				}
			}
		}
	}
	if synced { // only then is the meta page written; it fits into one sector, but who knows
		n := [...]int{0, 24, 40, 64, size}[r.IntN(5)]
		copy(out[meta*size:meta*size+n], after[meta*size:])
	}
	return out
}

// txid of a meta page: behind the page's head, magic, version, page size, flags, root, freelist and high-water mark.
func txid(page []byte) uint64 { return binary.LittleEndian.Uint64(page[boltHeader+48:]) }
