package store

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// specimens are records with every field in use, and with none.
func specimens(t testing.TB) []*Record {
	k := Key{"apps/deployments", "default", "web"}
	full := &Record{
		Key: k, Op: Put, UID: newUID(k, nil, nil), Dot: Dot{"bob", 7}, Stamp: stampOf0(1_700_000_000_000) + 3,
		Basis: Basis{Dot{"alice", 5}, stampOf0(1_699_999_999_000)}, Root: Key{"apps/deployments", "default", "root"},
		Body: []byte("body"), context: knowledge{{"alice", 9, 5, 0, 0}, {"bob", 6, 0, 0, 0}},
		head: head{deletion: 1_700_000_000, grace: 30, generation: 4, removed: []removal{{"example.com/f", 1}, {"foreground", 2}}},
	}
	human := &Record{Key: k, Human: true, UID: newUID(k, []UID{full.UID}, nil), Dot: Dot{"alice", 10}, Stamp: full.Stamp + 1, Root: k, Body: []byte{}}
	grave := &Record{Key: k, Op: Delete, UID: full.UID, Dot: Dot{"alice", 11}, Stamp: full.Stamp + 2, Root: k, context: knowledge{{"bob", 7, 0, 0, 0}}}
	status := &Record{Key: k, Part: Status, UID: full.UID, Dot: Dot{"bob", 12}, Stamp: full.Stamp + 3, Root: k, Body: []byte("ok")}
	late := &Record{
		Key: k, UID: full.UID, Dot: Dot{"bob", 13}, Stamp: full.Stamp + 4, Root: k, Body: []byte("late"), Born: full.Stamp, raised: 2, wrote: 4,
		context: knowledge{{"alice", 10, 5, 1, 3}, {"bob", 7, 0, 1, 2}}, head: head{generation: 1},
	}
	out := []*Record{full, human, grave, status, late}
	for _, r := range out {
		if err := r.seal(nil); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func encoded(r *Record) []byte {
	b, _ := r.encode()
	return b
}

func stampOf0(ms uint64) Stamp { return Stamp(ms << 16) }

// TestGoldenEncoding: signed bytes live for years on disks and in meshes of mixed versions; they must not change unnoticed.
func TestGoldenEncoding(t *testing.T) {
	var b strings.Builder
	for _, r := range specimens(t) {
		b.WriteString(hex.EncodeToString(r.msg) + "\n")
	}
	path := filepath.Join("testdata", "records-v1.hex")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(golden) {
		t.Fatalf("the encoding changed:\n%swas\n%s", b.String(), golden)
	}
	for i, line := range strings.Fields(string(golden)) {
		msg, _ := hex.DecodeString(line)
		r, err := decodeRecord(msg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if w := specimens(t)[i]; r.Key != w.Key || r.Root != w.Root || r.Dot != w.Dot || r.Basis != w.Basis || r.UID != w.UID ||
			r.Op != w.Op || r.Human != w.Human || (r.Body == nil) != (w.Body == nil) || r.Born != w.Born || r.raised != w.raised || r.wrote != w.wrote || r.head.generation != w.head.generation || !bytes.Equal(encoded(r), msg) {
			t.Fatalf("%d: %+v", i, r)
		}
	}
}

func TestUnknownTrailingFieldsTravel(t *testing.T) {
	r := specimens(t)[0]
	msg := append(bytes.Clone(r.msg), "a later version's field"...)
	got, err := decodeRecord(msg, []byte("sig"))
	if err != nil {
		t.Fatal(err)
	}
	if relayed := again(t, got); !bytes.Equal(relayed.msg, msg) || string(relayed.sig) != "sig" || relayed.hash == r.hash {
		t.Fatal("the signed bytes changed on the way")
	}
}

func TestUIDForm(t *testing.T) {
	u := newUID(pod("x"), nil, nil)
	if v, ok := parseUID(u.String()); !ok || v != u || u.String() != "a863ddd1-456b-8b52-8e50-ca4153d5ea71" {
		t.Fatalf("%s", u)
	}
	d1, d2 := newUID(pod("x"), []UID{u}, nil), newUID(pod("x"), []UID{u, d0}, nil)
	if d1 == u || d1 == d2 || d2 != newUID(pod("x"), []UID{d0, u}, nil) {
		t.Fatal("a UID depends on the set of tombstones, not on their order")
	}
}

var d0 = UID{15: 1}
