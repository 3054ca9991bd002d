package store

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// These targets go behind the decoders: to what acts on what was decoded.

// held is a replica that holds the specimens and believes every signature.
func held(t testing.TB) (*Replica, time.Time) {
	now := time.UnixMilli(1_700_000_100_000)
	cfg := Config{
		Dir: "-", Self: "carol", Class: classes, Verify: func(string, []byte, []byte) error { return nil },
		Sign: func([]byte) ([]byte, error) { return []byte("s"), nil },
	}
	r, _, err := NewReplica(cfg, nil, now, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	r.Step(now, Input{event{receive: specimens(t)}})
	if r.Begin(); r.inflight != nil {
		if _, _, err := r.Committed(nil); err != nil {
			t.Fatal(err)
		}
	}
	return r, now
}

// FuzzGossip takes in a frame as it comes from gossip.
func FuzzGossip(f *testing.F) {
	seed(f, "frame", "announcement")
	f.Add([]byte{optional, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, now := held(t)
		in, ok, _, err := r.Arrived("bob", b)
		if err != nil && ok {
			t.Fatal("poison is merged")
		}
		if ok {
			r.Step(now, in)
		}
	})
}

// FuzzProposal takes in what another node asks this one to serialise, and a home's answer to a write that nobody waits for.
func FuzzProposal(f *testing.F) {
	seed(f, "frame", "verdict")
	for _, r := range specimens(f) {
		f.Add(encodeFrame([]*Record{r}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, now := held(t)
		if in, err := r.Proposal(1, "bob", b); err == nil {
			for _, rec := range in.ev.judge {
				if rec.Dot.Actor != "bob" {
					t.Fatalf("bob proposes a write of %s", rec.Dot.Actor)
				}
			}
			r.Step(now, in)
		}
		r.Step(now, r.Answered(7, b, nil))
	})
}

// script is frames one after the other, each behind its length.
func script(frames ...[]byte) []byte {
	var b []byte
	for _, f := range frames {
		b = append(binary.AppendUvarint(b, uint64(len(f))), f...)
	}
	return b
}

func lines(b []byte) (frames [][]byte) {
	for len(b) > 0 {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return frames
		}
		frames, b = append(frames, b[k:k+int(n)]), b[k+int(n):]
	}
	return frames
}

// FuzzSession plays a peer's side of a reconciliation. However it asks, a turn sends no record twice, and ends.
func FuzzSession(f *testing.F) {
	for _, first := range []bool{true, false} {
		full, _ := held(f)
		empty := &Replica{}
		cfg, err := Config{Dir: "-", Self: "dave", Class: classes}.withDefaults()
		if err != nil {
			f.Fatal(err)
		}
		empty.start(cfg, &saved{horizon: map[string]Stamp{}}, time.UnixMilli(1_700_000_100_000))
		mine, theirs := full.Session(first), empty.Session(!first)
		var said [][]byte
		for range 20 { // what the peer says to a session that has everything, and to one that has nothing
			for g := theirs.Next(); g != nil; g = theirs.Next() {
				said = append(said, g)
				_, _, _ = mine.Hear(1, g)
			}
			for g := mine.Next(); g != nil; g = mine.Next() {
				_, _, _ = theirs.Hear(1, g)
			}
		}
		f.Add(first, script(said...))
	}
	var hello []byte
	for _, s := range formats(f) {
		if s.name == "hello-answer" {
			hello = s.bytes
		}
	}
	all := encodeSpans(append([]byte{turnFrame}, hello...), []span{{hi: end, mode: fingerprint, count: 0}})
	f.Add(false, script(all))
	f.Add(false, script(all, encodeSpans([]byte{turnFrame}, []span{{hi: end, mode: listing}})))
	f.Add(true, script([]byte{frameRecords, 0}, []byte{turnFrame}))
	f.Fuzz(func(t *testing.T, first bool, b []byte) {
		r, now := held(t)
		s := r.Session(first)
		for i, frame := range append([][]byte{nil}, lines(b)...) {
			if i > 0 {
				in, ok, err := s.Hear(1, frame)
				if err != nil {
					return
				}
				if ok {
					r.Step(now, in)
				}
			}
			before := s.s.stats.Sent
			for s.Next() != nil {
				if sent := s.s.stats.Sent - before; sent > s.s.set.size() {
					t.Fatalf("%d records in a turn, of %d", sent, s.s.set.size())
				}
			}
			if s.Over() {
				if in, ok := s.Conclude(); ok {
					r.Step(now, in)
				}
				return
			}
		}
	})
}

// FuzzDeath reads what is remembered of records that ended the process, and the journal of the one that did.
func FuzzDeath(f *testing.F) {
	seed(f, "disk-death")
	page := make([]byte, 100)
	p := poison{page: page}
	p.begin(specimens(f)[:2])
	f.Add(page)
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, b, func(b []byte) ([]byte, error) {
			_, e, ok := decodeDeath(make([]byte, 32), b)
			if !ok {
				return nil, errCorrupt
			}
			_ = e.until()
			return e.encode(), nil
		})
		p := poison{page: make([]byte, journalSize)}
		copy(p.page, b)
		if died := p.applying(); len(died) > maxPerFrame {
			t.Fatalf("%d hashes of at most %d", len(died), maxPerFrame)
		}
	})
}

// FuzzUID reads a UID as a client names it.
func FuzzUID(f *testing.F) {
	f.Add(specimens(f)[0].UID.String())
	f.Add("00000000-0000-0000-0000-00000000000g")
	f.Fuzz(func(t *testing.T, s string) {
		u, ok := parseUID(s)
		if !ok {
			return
		}
		if again, ok := parseUID(u.String()); !ok || !bytes.Equal(again[:], u[:]) {
			t.Fatalf("%q is %s, which is not read", s, u)
		}
	})
}
