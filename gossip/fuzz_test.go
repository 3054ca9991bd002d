package gossip

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

var update = flag.Bool("update", false, "write the golden files anew: only with a new version of the format")

// specimen is a token with every field in use.
func specimen(t testing.TB) token {
	id, err := peer.Decode("12D3KooWGRUfvQ2hYyBQUrsxDcPbW4vfHdGb8s6wFUVNoQRh1fGr")
	if err != nil {
		t.Fatal(err)
	}
	return token{mesh: [16]byte{1, 2}, authority: [32]byte{3, 4}, secret: [16]byte{5, 6}, expiry: time.Unix(1_800_000_000, 0), issuer: id,
		addrs: []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.1/udp/7946/quic-v1"), ma.StringCast("/ip4/192.0.2.1/tcp/7946")}}
}

func TestGoldenToken(t *testing.T) {
	text, path := specimen(t).String(), filepath.Join("testdata", "token.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text+"\n" != string(want) {
		t.Fatalf("the token's bytes changed: %s\nwas %s", text, want)
	}
	if got, err := parseToken(text); err != nil || got.String() != text {
		t.Fatalf("%v: %s", err, got)
	}
}

func FuzzToken(f *testing.F) {
	text := specimen(f).String()
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add(text + "A")
	f.Add(tokenPrefix)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseToken(s)
		if err != nil {
			return
		}
		if again, err := parseToken(got.String()); err != nil || again.String() != got.String() {
			t.Fatalf("what was accepted does not survive: %v", err)
		}
	})
}

// FuzzTokenBytes goes behind the checksum, which a fuzzer does not guess.
func FuzzTokenBytes(f *testing.F) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(specimen(f).String(), tokenPrefix))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw[:len(raw)-4])
	f.Add(make([]byte, 120))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := decodeToken(b); err == nil && len(got.addrs) > maxTokenAddrs {
			t.Fatal("more addresses than the bound")
		}
	})
}

// FuzzMessage reads what strangers may send: a hello, a plea, an answer to one.
func FuzzMessage(f *testing.F) {
	for _, v := range []any{certificate{Claim: []byte("{}"), Signature: []byte("s")}, joinPlea{Secret: []byte("s"), Name: "n"}, joinAnswer{Refused: "used"}} {
		var b bytes.Buffer
		if err := writeMessage(&b, v); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	keys, err := newKeys(time.Unix(1_800_000_000, 0))
	if err != nil {
		f.Fatal(err)
	}
	ca, err := keys.authority()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c certificate
		if readMessage(bytes.NewReader(b), maxHello, &c) == nil {
			if _, err := c.admits(ca, keys.MeshID, "p"); err == nil {
				t.Fatal("admitted without the authority's signature")
			}
		}
		var answer joinAnswer
		if readMessage(bytes.NewReader(b), maxHello, &answer) == nil {
			_ = answer.Keys.check()
		}
		var k []known
		_ = json.Unmarshal(b, &k)
	})
}
