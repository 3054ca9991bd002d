package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// goldenFiles are a data directory of a server that was the first of its mesh.
var goldenFiles = []string{identityFile, keysFile, certificateFile, peersFile}

// The files of a server from before can be read, are what they were, and are written as they were.
func TestGoldenFiles(t *testing.T) {
	dir := "testdata"
	if *update {
		for _, name := range goldenFiles {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		if err := Create(Config{Dir: dir, Name: "n0", Listen: freePort(t)}); err != nil {
			t.Fatal(err)
		}
		book := []known{{ID: "12D3KooWGRUfvQ2hYyBQUrsxDcPbW4vfHdGb8s6wFUVNoQRh1fGr", Name: "n1", Addr: freePort(t), Region: "eu", Zone: "a", Lost: true}}
		if err := writeJSON(filepath.Join(dir, peersFile), book); err != nil {
			t.Fatal(err)
		}
	}
	keys, self, _ := founded(t)
	var cert certificate
	if err := readJSON(filepath.Join(dir, certificateFile), &cert); err != nil {
		t.Fatal(err)
	}
	ca, err := keys.authority()
	if err != nil {
		t.Fatal(err)
	}
	if c, err := cert.admits(ca, keys.MeshID, self.id); err != nil || c.Name != "n0" || c.Admitted == 0 {
		t.Errorf("the certificate says %+v, %v", c, err)
	}
	if _, err := keys.issue(self.ID(), "n0", time.Now()); err != nil {
		t.Errorf("the keys issue nothing: %v", err)
	}
	book, err := openBook(filepath.Join(dir, peersFile))
	if err != nil {
		t.Fatal(err)
	}
	if all := book.all(); len(all) != 1 || all[0].Name != "n1" || all[0].Region != "eu" || !all[0].Lost || !all[0].Addr.IsValid() {
		t.Errorf("known peers are %+v", all)
	}
	for name, v := range map[string]any{keysFile: keys, certificateFile: cert, peersFile: book.all()} {
		again := filepath.Join(t.TempDir(), name)
		if err := writeJSON(again, v); err != nil {
			t.Fatal(err)
		}
		was, err1 := os.ReadFile(filepath.Join(dir, name))
		is, err2 := os.ReadFile(again)
		if err1 != nil || err2 != nil || !bytes.Equal(was, is) {
			t.Errorf("%s is written otherwise: %s\nwas %s", name, is, was)
		}
	}
}

// What servers say to one another, and what their records hold, is what it was, byte by byte, and reads as what was meant.
func TestGoldenMessages(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:7946")
	cert := certificate{Claim: []byte(`{"mesh":"m"}`), Signature: []byte("signature")}
	keys := Keys{MeshID: "m", CACert: []byte("cert"), CAKey: []byte("key"), Gossip: [][]byte{{1, 2}}, Secrets: [][]byte{{3, 4}}}
	var got bytes.Buffer
	line := func(name string, b []byte) { fmt.Fprintf(&got, "%s: %q\n", name, b) }
	for _, m := range []struct {
		name string
		said any
		read any // where it is read to
	}{
		{"hello", cert, new(certificate)},
		{"hello of one who refuses", certificate{Claim: cert.Claim, Signature: cert.Signature, Refused: refusedEvicted}, new(certificate)},
		{"join, ask", joinAsk{Nonce: []byte("nonce")}, new(joinAsk)},
		{"join, proof", joinProof{CA: []byte("ca"), Certificate: cert, Nonce: []byte("nonce"), Signature: []byte("signed")}, new(joinProof)},
		{"join, plea", joinPlea{Secret: []byte("secret"), Name: "n1"}, new(joinPlea)},
		{"join, refusal", joinAnswer{Refused: "used", Detail: "why"}, new(joinAnswer)},
		{"join, grant", joinAnswer{Keys: keys, Certificate: cert, Peers: []known{{ID: "p", Name: "n0", Addr: at, Region: "r", Zone: "z", Left: true, Lost: true}}}, new(joinAnswer)},
		{"claim", claim{Mesh: "m", Peer: "p", Name: "n0", Admitted: 1_800_000_000}, new(claim)},
		{"record of a token", tokenRecord{Expiry: 1_800_000_000}, new(tokenRecord)},
		{"record of a used token", tokenRecord{Expiry: 1_800_000_000, UsedBy: "p", UsedAt: 1_800_000_001}, new(tokenRecord)},
		{"record of an eviction", evictionRecord{Name: "n0", At: 1_800_000_000}, new(evictionRecord)},
		{"manifest of a backup", Manifest{Mesh: "m", Node: "n0", Time: time.Unix(1_800_000_000, 0).UTC()}, new(Manifest)},
	} {
		var b bytes.Buffer
		if err := writeMessage(&b, m.said); err != nil {
			t.Fatal(err)
		}
		line(m.name, b.Bytes())
		if err := readMessage(&b, maxJoin, m.read); err != nil || !reflect.DeepEqual(reflect.ValueOf(m.read).Elem().Interface(), m.said) {
			t.Errorf("%s reads as %+v, %v", m.name, m.read, err)
		}
	}
	line("what a member signs in a join", transcript("m", "member", "joiner", []byte("nonce 1"), []byte("nonce 2")))
	caller, callee := says(append([]byte{replyFailed}, "\x00\x00\x00\x03why"...)), says([]byte("\x00\x00\x00\x07request"))
	var remote *RemoteError
	if _, err := exchange(t.Context(), "p", caller, []byte("request")); !errors.As(err, &remote) || remote.Text != "why" {
		t.Errorf("a failed call reads as %v", err)
	}
	line("call", caller.out.Bytes())
	for _, failed := range []error{nil, errors.New("why")} {
		_ = serveOne(t.Context(), "p", callee, func(_ context.Context, _ ID, r []byte) ([]byte, error) { return append([]byte("done "), r...), failed })
		line(fmt.Sprint("answer to a call, error ", failed), callee.out.Bytes())
		callee = says([]byte("\x00\x00\x00\x07request"))
	}
	file := filepath.Join("testdata", "messages.txt")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Errorf("what is said is\n%s\nand was\n%s", &got, want)
	}
}
