package store

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

var body = make([]byte, 1500)

// BenchmarkWriteAlone: one writer, one fsync a write.
func BenchmarkWriteAlone(b *testing.B) {
	s := newMesh().add(b, "a")
	took := make([]time.Duration, 0, 1024)
	for i := 0; b.Loop(); i++ {
		t := time.Now()
		put(b, s, Write{Key: pod(fmt.Sprint(i)), Body: body})
		took = append(took, time.Since(t))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

// BenchmarkWrite64: 64 writers share fsyncs.
func BenchmarkWrite64(b *testing.B) {
	s := newMesh().add(b, "a")
	var n atomic.Int64
	b.SetParallelism(32) // times 2 cores
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			put(b, s, Write{Key: pod(fmt.Sprint(n.Add(1))), Body: body})
		}
	})
}

func BenchmarkGet(b *testing.B) {
	s := newMesh().add(b, "a")
	fill(b, s, "x", 10_000)
	k := pod("x-05000")
	for b.Loop() {
		if o, _ := s.Get(k); o == nil {
			b.Fatal("gone")
		}
	}
}

func BenchmarkList500(b *testing.B) {
	s := newMesh().add(b, "a")
	fill(b, s, "x", 10_000)
	for b.Loop() {
		if objs, _, _, _ := s.List(Selector{Kind: "core/pods"}, ListOptions{Limit: 500, After: "default/x-02000"}); len(objs) != 500 {
			b.Fatal(len(objs))
		}
	}
}

// BenchmarkOpen100k opens a store of 100,000 objects of 1.5 kB and tells what they take in memory.
func BenchmarkOpen100k(b *testing.B) {
	m, dir := newMesh(), b.TempDir()
	src, err := Open(m.config("a", dir))
	if err != nil {
		b.Fatal(err)
	}
	bt := &batch{}
	for i := range 100_000 {
		k := pod(fmt.Sprintf("p-%06d", i))
		r := &Record{Key: k, Root: k, UID: newUID(k, nil, nil), Dot: Dot{"a", uint64(i + 1)}, Stamp: Stamp(i + 1), Body: body}
		if err := r.seal(src.cfg.Sign); err != nil {
			b.Fatal(err)
		}
		if bt.ops = append(bt.ops, diskOp{rec: r}); len(bt.ops) == 10_000 {
			if err := src.disk.commit(bt); err != nil {
				b.Fatal(err)
			}
			bt = &batch{}
		}
	}
	_ = src.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		s, err := Open(m.config("a", dir))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if _, n := s.Root(); n != 100_000 {
			b.Fatal(n)
		}
		_ = s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
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
