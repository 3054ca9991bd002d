package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew: only with a new version of the format")

// format is one thing that leaves the process, as bytes, and how it is read back: again must give the same bytes.
type format struct {
	name  string
	bytes []byte
	again func([]byte) ([]byte, error)
}

// formats are specimens of all that FORMATS.md describes, with every field in use.
func formats(t testing.TB) []format {
	recs := specimens(t)
	for _, r := range recs {
		r.sig = []byte("signature of " + r.Dot.Actor)
	}
	horizons := []horizonOf{{"apps/deployments", stampOf0(1_600_000_000_000)}, {"core/pods", stampOf0(1_700_000_000_000) + 7}}
	spans := []span{
		{hi: bound{stamp: 9}, mode: fingerprint, finger: [shortHash]byte{1, 2, 3}, count: 700},
		{lo: bound{stamp: 12}, hi: bound{stamp: 13, hash: hash{4}}, mode: listing, hashes: [][shortHash]byte{{5}, {6}}},
		{lo: bound{stamp: 13, hash: hash{4}}, hi: end, mode: want, hashes: [][shortHash]byte{{7}}},
	}
	marksOf := []markOf{{"alice", stampOf0(1_700_000_000_000)}, {"bob", stampOf0(1_700_000_600_000)}}
	told := hello{horizons: horizons, heard: marksOf, holds: marksOf[:1]}
	first, answer := &session{mine: told}, &session{mine: told, heard: true, digest: [8]byte{1}}
	return []format{
		{"frame", encodeFrame(recs), againFrame},
		{"announcement", frames([]*Record{large(t)})[0], func(b []byte) ([]byte, error) {
			r, err := decodeAnnouncement(b)
			return announcement(r), err
		}},
		{"verdict", encodeVerdict(conflict, recs[:1]), func(b []byte) ([]byte, error) {
			v, recs, err := decodeVerdict(b)
			return encodeVerdict(v, recs), err
		}},
		{"hello-first", first.appendHello(nil), nil},
		{"hello-answer", answer.appendHello(nil), func(b []byte) ([]byte, error) {
			p, d := &session{}, &decoder{b: b}
			p.decodeHello(d)
			if d.err != nil || p.peer == nil {
				return nil, errors.Join(d.err, errors.New("nothing told"))
			}
			return (&session{mine: *p.peer, heard: true, digest: [8]byte{1}}).appendHello(nil), nil
		}},
		{"turn", encodeSpans(nil, spans), func(b []byte) ([]byte, error) {
			d := decoder{b: b}
			return encodeSpans(nil, decodeSpans(&d)), d.err
		}},
		{"snapshot", snapshotOf(t, recs, horizons), againSnapshot},
		{"disk-record-key", storedKey(recs[0]), nil},
		{"disk-record", storedValue(recs[0]), func(b []byte) ([]byte, error) {
			r, err := decodeStored(storedKey(recs[0]), b)
			if err != nil {
				return nil, err
			}
			return storedValue(r), nil
		}},
		{"disk-marks", marks{7, stampOf0(1_700_000_000_000), 9}.encode([]byte("more")), func(b []byte) ([]byte, error) {
			m, more, err := decodeMarks(b)
			return m.encode(more), err
		}},
		{"disk-death", death{2, time.Unix(1_700_000_000, 0), "more"}.encode(), func(b []byte) ([]byte, error) {
			_, e, ok := decodeDeath(make([]byte, 32), b)
			if !ok {
				return nil, errCorrupt
			}
			return e.encode(), nil
		}},
		{"disk-horizon", horizons[1].encode([]byte("more")), func(b []byte) ([]byte, error) {
			at, more, err := decodeHorizon([]byte("core/pods"), b)
			return horizonOf{at: at}.encode(more), err
		}},
	}
}

func againFrame(b []byte) ([]byte, error) {
	recs, err := decodeFrame(b)
	return encodeFrame(recs), err
}

func large(t testing.TB) *Record {
	r := &Record{Key: pod("large"), Root: pod("large"), Dot: Dot{"bob", 1}, Stamp: stampOf0(1_700_000_000_000), Body: make([]byte, maxInline)}
	if err := r.seal(nil); err != nil {
		t.Fatal(err)
	}
	return r
}

func snapshotOf(t testing.TB, recs []*Record, horizons []horizonOf) []byte {
	var b bytes.Buffer
	out := newSnapshotWriter(&b)
	out.section(sectionAttached, appendString(appendString(nil, "mesh.json"), "{}"))
	out.section(sectionHorizons, appendHorizons(nil, horizons))
	out.section(sectionRecords, encodeFrame(recs))
	if err := out.end(len(recs)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func againSnapshot(b []byte) ([]byte, error) {
	r, err := OpenSnapshot(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := newSnapshotWriter(&out)
	for name, data := range r.attached {
		w.section(sectionAttached, appendString(appendString(nil, name), string(data)))
	}
	w.section(sectionHorizons, appendHorizons(nil, r.horizons))
	for {
		recs, err := r.next()
		if len(recs) == 0 {
			_ = w.end(r.records)
			if r.done {
				err = nil
			}
			return out.Bytes(), err
		}
		w.section(sectionRecords, encodeFrame(recs))
	}
}

// TestGoldenBytes: what is on disks and in meshes of mixed versions must not change unnoticed. Whoever means to change a
// format gives it a new version, writes it down in FORMATS.md and runs the test with -update.
func TestGoldenBytes(t *testing.T) {
	for _, f := range formats(t) {
		t.Run(f.name, func(t *testing.T) {
			golden(t, f.name, f.bytes)
			if f.again == nil {
				return
			}
			if again, err := f.again(f.bytes); err != nil || !bytes.Equal(again, f.bytes) {
				t.Fatalf("what was read is written as other bytes (%v):\n%x\nwas\n%x", err, again, f.bytes)
			}
		})
	}
}

// golden compares with testdata/NAME.hex, 32 bytes a line.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	var text strings.Builder
	for len(b) > 0 {
		n := min(len(b), 32)
		text.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	path := filepath.Join("testdata", name+".hex")
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Fatalf("the bytes changed:\n%swas\n%s", text.String(), want)
	}
}

// TestEveryDamagedByteIsFound: on disk a record is found out whichever of its bytes changes; so are marks and horizons.
func TestEveryDamagedByteIsFound(t *testing.T) {
	for _, f := range formats(t) {
		if !strings.HasPrefix(f.name, "disk-") || f.again == nil {
			continue
		}
		for i := range f.bytes {
			b := bytes.Clone(f.bytes)
			b[i] ^= 0x10
			if _, err := f.again(b); err == nil {
				t.Errorf("%s: a change of byte %d goes unnoticed", f.name, i)
			}
		}
	}
}

// TestASnapshotCutShortIsFound wherever it was cut, and so is one of whose bytes any changed.
func TestASnapshotCutShortIsFound(t *testing.T) {
	for _, f := range formats(t) {
		if f.name != "snapshot" {
			continue
		}
		for i := range f.bytes {
			if _, err := againSnapshot(f.bytes[:i]); err == nil {
				t.Errorf("cut after %d of %d bytes: not found", i, len(f.bytes))
			}
			b := bytes.Clone(f.bytes)
			b[i] ^= 0x10
			if _, err := againSnapshot(b); err == nil {
				t.Errorf("a change of byte %d goes unnoticed", i)
			}
		}
	}
}
