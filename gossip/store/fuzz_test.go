package store

import (
	"bytes"
	"io"
	"testing"
)

// The fuzz targets feed every decoder with whatever a peer, a disk or a file may hold. Their seeds run in every go test. A
// decoder must not panic nor take memory beyond its bounds, and what it accepts must survive being written and read again.

// seed gives a target the golden specimens whose name begins so, whole, cut and damaged.
func seed(f *testing.F, names ...string) {
	for _, s := range formats(f) {
		for _, name := range names {
			if s.name != name {
				continue
			}
			f.Add(s.bytes)
			f.Add(s.bytes[:len(s.bytes)/2])
			f.Add(append(bytes.Clone(s.bytes), 0xff))
			for i := 0; i < len(s.bytes); i += 1 + len(s.bytes)/16 {
				b := bytes.Clone(s.bytes)
				b[i] ^= 0xff
				f.Add(b)
			}
		}
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 24)) // lengths beyond every bound
}

// survives checks that reading what was written of the thing read gives the same bytes once more.
func survives(t *testing.T, b []byte, again func([]byte) ([]byte, error)) {
	first, err := again(b)
	if err != nil {
		return
	}
	second, err := again(first)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("what was accepted does not survive: %v\n%x\n%x", err, first, second)
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range specimens(f) {
		f.Add(r.msg, []byte("sig"))
		f.Add(append(bytes.Clone(r.msg), "a later version's field"...), []byte{})
	}
	f.Fuzz(func(t *testing.T, msg, sig []byte) {
		r, err := decodeRecord(msg, sig)
		if err != nil {
			return
		}
		if !bytes.Equal(r.msg, msg) || !bytes.Equal(r.sig, sig) {
			t.Fatal("the exact signed bytes are what travels")
		}
		own, err := decodeRecord(encoded(r), sig)
		if err != nil || own.Key != r.Key || own.Dot != r.Dot || own.Stamp != r.Stamp || !bytes.Equal(own.Body, r.Body) {
			t.Fatalf("%v: %+v, then %+v", err, r, own)
		}
	})
}

func FuzzFrame(f *testing.F) {
	seed(f, "frame")
	f.Add([]byte{frameRecords, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, b, againFrame)
		if recs, err := decodeFrame(b); err == nil {
			c := newLab(t, "a").cores["a"]
			c.Step(newLab(t).now, event{receive: recs}) // must not panic, whatever it says
		}
	})
}

func FuzzAnnouncement(f *testing.F) {
	seed(f, "announcement")
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, b, func(b []byte) ([]byte, error) {
			r, err := decodeAnnouncement(b)
			if err != nil {
				return nil, err
			}
			return announcement(r), nil
		})
	})
}

func FuzzVerdict(f *testing.F) {
	seed(f, "verdict")
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, b, func(b []byte) ([]byte, error) {
			v, recs, err := decodeVerdict(b)
			return encodeVerdict(v, recs), err
		})
	})
}

func FuzzTurn(f *testing.F) {
	seed(f, "turn")
	f.Fuzz(func(t *testing.T, b []byte) {
		survives(t, b, func(b []byte) ([]byte, error) {
			d := decoder{b: b}
			spans := decodeSpans(&d)
			return encodeSpans(nil, spans), d.err
		})
	})
}

func FuzzHello(f *testing.F) {
	seed(f, "hello-first", "hello-answer")
	f.Fuzz(func(t *testing.T, b []byte) {
		d := decoder{b: b}
		p := session{}
		if p.decodeHello(&d); d.err == nil && p.peer != nil && len(p.peer.horizons) > maxHorizons {
			t.Fatal("more horizons than the bound")
		}
	})
}

// FuzzConn reads the lengths that frame a reconciliation's stream.
func FuzzConn(f *testing.F) {
	var b bytes.Buffer
	c := conn{rw: &b}
	_ = c.write([]byte("frame"))
	_ = c.write(make([]byte, 300))
	f.Add(b.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := conn{rw: struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b), io.Discard}}
		for {
			got, err := c.read()
			if err != nil {
				return
			}
			if len(got) > len(b) || c.in > int64(len(b)) {
				t.Fatalf("%d bytes of %d", len(got), len(b))
			}
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	seed(f, "snapshot")
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := OpenSnapshot(bytes.NewReader(b))
		for n := 0; err == nil; n++ {
			if _, err = r.next(); n > len(b) {
				t.Fatal("no end")
			}
		}
	})
}

func FuzzStored(f *testing.F) {
	seed(f, "disk-record", "disk-marks", "disk-horizon")
	r := specimens(f)[0]
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeStored(storedKey(r), b)
		_, _ = decodeStored(b, storedValue(r))
		survives(t, b, func(b []byte) ([]byte, error) {
			m, more, err := decodeMarks(b)
			return m.encode(more), err
		})
		survives(t, b, func(b []byte) ([]byte, error) {
			at, more, err := decodeHorizon(nil, b)
			return horizonOf{at: at}.encode(more), err
		})
	})
}
