package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// reconcile runs one reconciliation between two stores over a pipe without any buffer.
func reconcile(t testing.TB, a, b *Store) (Stats, Stats) {
	t.Helper()
	x, y := net.Pipe()
	defer x.Close()
	defer y.Close()
	type end struct {
		st  Stats
		err error
	}
	served := make(chan end, 1)
	go func() {
		st, err := b.ServeReconcile(context.Background(), y)
		if err != nil {
			y.Close()
		}
		served <- end{st, err}
	}()
	st, err := a.Reconcile(context.Background(), x)
	if err != nil {
		x.Close()
	}
	e := <-served
	if err != nil || e.err != nil {
		t.Fatalf("initiator: %v; server: %v", err, e.err)
	}
	return st, e.st
}

func equalRoots(t testing.TB, stores ...*Store) {
	t.Helper()
	root, n := stores[0].Root()
	for _, s := range stores[1:] {
		if r, k := s.Root(); r != root || k != n {
			t.Fatalf("roots differ: %d and %d records", n, k)
		}
	}
}

func fill(t testing.TB, s *Store, prefix string, n int) {
	t.Helper()
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := s.Write(context.Background(), Write{Key: pod(fmt.Sprintf("%s-%05d", prefix, i)), Body: []byte(prefix), Generated: true})
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

func TestReconcileMakesEqual(t *testing.T) {
	m := newMesh()
	m.mute = true
	a, b := m.add(t, "a"), m.add(t, "b")
	fill(t, a, "a", 3000)
	st, _ := reconcile(t, b, a) // an empty joiner
	if st.Merged != 3000 {
		t.Fatalf("joiner: %+v", st)
	}
	equalRoots(t, a, b)
	st, other := reconcile(t, a, b)
	if st.In+st.Out > 200 || other.In != st.Out {
		t.Fatalf("equal stores cost %d bytes", st.In+st.Out)
	}
	put(t, a, Write{Key: pod("one"), Body: []byte("1")})
	put(t, b, Write{Key: pod("two"), Body: []byte("2")})
	put(t, b, Write{Key: pod("a-00017"), Op: Delete, Base: get(b, pod("a-00017"))})
	st, other = reconcile(t, a, b)
	equalRoots(t, a, b)
	if st.Merged != 2 || other.Merged != 1 || st.In+st.Out > 6000 {
		t.Fatalf("small difference: %+v, %+v", st, other)
	}
	if get(a, pod("a-00017")) != nil || get(a, pod("two")) == nil || get(b, pod("one")) == nil {
		t.Fatal("views differ")
	}
}

func TestReconcileDisjoint(t *testing.T) {
	m := newMesh()
	m.mute = true
	a, b := m.add(t, "a"), m.add(t, "b")
	fill(t, a, "a", 2500)
	fill(t, b, "b", 2500)
	reconcile(t, a, b)
	equalRoots(t, a, b)
	if _, n := a.Root(); n != 5000 {
		t.Fatalf("%d records", n)
	}
}

// broken reconciles over a pipe that ends after some bytes from the server.
func broken(t testing.TB, a, b *Store, after int) Stats {
	t.Helper()
	x, y := net.Pipe()
	defer x.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_, _ = b.ServeReconcile(context.Background(), &cutConn{Conn: y, left: after})
	}()
	st, err := a.Reconcile(context.Background(), x)
	x.Close()
	<-served
	if err == nil {
		t.Fatal("the pipe did not break")
	}
	return st
}

type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.left -= len(b); c.left < 0 {
		_ = c.Conn.Close()
	}
	return c.Conn.Write(b)
}

// A receiver's credit is one frame: whoever sends gets rid of the next one only once all before it are on the receiver's disk,
// however slow that is.
func TestASenderIsHeldBackByTheReceiversDisk(t *testing.T) {
	m := newMesh()
	m.mute = true
	a, b := m.add(t, "a"), m.add(t, "b")
	fill(t, a, "a", 3000)
	x, y := net.Pipe()
	defer x.Close()
	defer y.Close()
	ahead := &creditConn{Conn: y, disk: b.disk}
	done := make(chan error, 1)
	go func() {
		_, err := a.ServeReconcile(t.Context(), ahead)
		done <- err
	}()
	st, err := b.Reconcile(t.Context(), x)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if st.Merged != 3000 || ahead.frames < 3000/sendRecords || ahead.most > sendRecords {
		t.Errorf("%+v; of %d frames, up to %d records were sent and not on the disk: more than the %d of one", st, ahead.frames, ahead.most, sendRecords)
	}
}

// creditConn counts, each time the peer has taken a frame, the records of it and of those before that are not on the peer's disk.
type creditConn struct {
	net.Conn
	disk               *disk
	frames, sent, most int
}

func (c *creditConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if _, k := binary.Uvarint(b); k > 0 && b[k] == frameRecords {
		c.frames++
		c.sent += len(Unframe(b[k:]))
		_ = c.disk.db.View(func(tx *bolt.Tx) error {
			c.most = max(c.most, c.sent-tx.Bucket(bucketRecords).Stats().KeyN)
			return nil
		})
	}
	return n, err
}
