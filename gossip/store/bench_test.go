package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What must hold (issue "State that can't be lost"), with 100,000 objects of 2 KB where it matters. Every time stands beside that
// of a plain bbolt file in the same run, on the same disk: the ratio says what the store costs, the time what the disk does.
//
//	resident memory ≤ 300 MB above an empty store · open ≤ 5 s · read p50 ≤ 20 µs · write p50 alone ≤ 30 ms · 64 writers ≥ 1,000 a second

const (
	many = 100_000
	each = 2000 // bytes of a body
)

// noise is a body that no compression helps with.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// plant writes n objects straight into the file of a store in dir, as a start finds them.
func plant(tb testing.TB, dir string, n, size int) {
	tb.Helper()
	d, _, _, _, err := openDisk(dir, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	defer d.db.Close()
	d.db.NoSync = true
	text, sig := noise(size+n), make([]byte, 64)
	bt := &batch{}
	for i := range n {
		k := pod(fmt.Sprintf("p-%06d", i))
		r := &Record{Key: k, Root: k, UID: newUID(k, nil, nil), Dot: Dot{"a", uint64(i + 1)}, Stamp: stampOf0(1_700_000_000_000) + Stamp(i)<<16, Body: text[i : i+size]}
		if err := r.seal(func([]byte) ([]byte, error) { return sig, nil }); err != nil {
			tb.Fatal(err)
		}
		if bt.ops = append(bt.ops, diskOp{rec: r}); len(bt.ops) == 1000 || i == n-1 {
			if err := d.commit(bt); err != nil {
				tb.Fatal(err)
			}
			bt = &batch{}
		}
	}
	if err := d.db.Sync(); err != nil {
		tb.Fatal(err)
	}
}

// plain is a bbolt file that nothing but the benchmark uses.
func plain(b *testing.B) *bolt.DB {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "plain.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	if err := plainPut(db, "first", nil); err != nil {
		b.Fatal(err)
	}
	return db
}

func plainPut(db *bolt.DB, key string, body []byte) error {
	return db.Update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return bucket.Put([]byte(key), body)
	})
}

type timings []time.Duration

func (t *timings) take(f func()) {
	begun := time.Now()
	f()
	*t = append(*t, time.Since(begun))
}

func (t timings) at(percent int) float64 {
	slices.Sort(t)
	return float64(t[len(t)*percent/100].Nanoseconds()) / 1000
}

// report gives the store's figures, the plain file's and how many times greater the former are.
func report(b *testing.B, store, plain timings) {
	b.ReportMetric(store.at(50), "p50-us")
	b.ReportMetric(store.at(99), "p99-us")
	b.ReportMetric(plain.at(50), "plain-p50-us")
	b.ReportMetric(store.at(50)/plain.at(50), "times-plain")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkWriteAlone: one writer, one transaction a write.
func BenchmarkWriteAlone(b *testing.B) {
	s, db, body := newMesh().add(b, "a"), plain(b), noise(each)
	var ours, theirs timings
	for i := 0; b.Loop(); i++ {
		ours.take(func() { put(b, s, Write{Key: pod(fmt.Sprint(i)), Body: body}) })
		theirs.take(func() {
			if err := plainPut(db, fmt.Sprint(i), body); err != nil {
				b.Fatal(err)
			}
		})
	}
	report(b, ours, theirs)
}

// BenchmarkWrite64: 64 writers share transactions; the plain file's writers take turns.
func BenchmarkWrite64(b *testing.B) {
	s, db, body := newMesh().add(b, "a"), plain(b), noise(each)
	rate := func(n int, write func(i int64) error) float64 {
		var next atomic.Int64
		var wg sync.WaitGroup
		begun := time.Now()
		for range 64 {
			wg.Go(func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					if err := write(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return float64(n) / time.Since(begun).Seconds()
	}
	n := max(b.N, 64)
	ours := rate(n, func(i int64) error {
		_, err := s.Write(context.Background(), Write{Key: pod(fmt.Sprint(i)), Body: body})
		return err
	})
	theirs := rate(min(n, 2000), func(i int64) error { return plainPut(db, fmt.Sprint(i), body) })
	b.ReportMetric(ours, "writes/s")
	b.ReportMetric(theirs, "plain-writes/s")
	b.ReportMetric(ours/theirs, "times-plain")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRead: one object of 100,000.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	plant(b, dir, many, 200)
	s := start(b, newMesh().config("a", dir))
	db, body := plain(b), noise(200)
	err := db.Update(func(tx *bolt.Tx) error {
		for i := range many {
			if err := tx.Bucket([]byte("b")).Put(fmt.Appendf(nil, "p-%06d", i), body); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	var ours, theirs timings
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("p-%06d", i*7919%many)
		ours.take(func() {
			if o, _ := s.Get(pod(name)); o == nil {
				b.Fatal("gone")
			}
		})
		theirs.take(func() {
			_ = db.View(func(tx *bolt.Tx) error {
				if bytes.Clone(tx.Bucket([]byte("b")).Get([]byte(name))) == nil {
					b.Fatal("gone")
				}
				return nil
			})
		})
	}
	report(b, ours, theirs)
}

func BenchmarkList500(b *testing.B) {
	dir := b.TempDir()
	plant(b, dir, 10_000, 200)
	s := start(b, newMesh().config("a", dir))
	for b.Loop() {
		if objs, _, _, _ := s.List(Selector{Kind: "core/pods"}, ListOptions{Limit: 500, After: "default/p-002000"}); len(objs) != 500 {
			b.Fatal(len(objs))
		}
	}
}

// BenchmarkOpen100k opens 100,000 objects of 2 KB in a process of its own, which tells how long that took and what it holds
// resident above what it held with an empty store; and the time that reading the same file takes without a store.
func BenchmarkOpen100k(b *testing.B) {
	full, empty := b.TempDir(), b.TempDir()
	plant(b, full, many, each)
	plant(b, empty, 0, each)
	for b.Loop() {
		none, some := weigh(b, empty), weigh(b, full)
		b.ReportMetric((some.resident-none.resident)/1e6, "MB-above-empty")
		b.ReportMetric((some.heap-none.heap)/1e6, "MB-heap")
		b.ReportMetric(some.peak/1e6, "MB-peak")
		b.ReportMetric(some.open, "s-open")
		b.ReportMetric(some.cpu, "cpu-s-open") // what it takes on a machine that others use too
		b.ReportMetric(some.plain, "s-plain-read")
		b.ReportMetric(0, "ns/op")
	}
}

type weight struct{ open, cpu, plain, resident, heap, peak float64 }

func weigh(b *testing.B, dir string) (w weight) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_WEIGH="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &w.open, &w.cpu, &w.plain, &w.resident, &w.heap, &w.peak)
	}
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return w
}

// weighed is the process of BenchmarkOpen100k.
func weighed(dir string) error {
	begun := time.Now()
	db, err := bolt.Open(filepath.Join(dir, "store.db"), 0o600, nil)
	if err != nil {
		return err
	}
	n := 0
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketRecords).ForEach(func(_, v []byte) error { n += len(bytes.Clone(v)); return nil })
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	plain := time.Since(begun)
	debug.FreeOSMemory()
	begun, busy := time.Now(), cpuTime()
	s, err := Open(newMesh().config("a", dir))
	if err != nil {
		return err
	}
	open, busy := time.Since(begun), cpuTime()-busy
	peak := resident("VmHWM")
	debug.FreeOSMemory() // as the daemon does once it has started
	heap := liveHeap()
	fmt.Println(open.Seconds(), busy.Seconds(), plain.Seconds(), resident("VmRSS"), heap, peak)
	return s.Close()
}

// cpuTime is what this process has used of all cores.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident reads a line of /proc/self/status, in bytes.
func resident(line string) float64 {
	text, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024
		}
	}
	return 0
}

func BenchmarkMergeVerified(b *testing.B) {
	m := newMesh()
	m.mute = true
	src, dst := m.add(b, "a"), m.add(b, "b")
	fill(b, src, "x", 2000)
	b.ResetTimer()
	st, _ := reconcile(b, dst, src)
	b.ReportMetric(float64(st.Merged)/b.Elapsed().Seconds(), "records/s")
}

func liveHeap() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
