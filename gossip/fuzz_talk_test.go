package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/serf/serf"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// monologue is a stream whose far side says what it says, whatever it is told.
type monologue struct {
	network.Stream
	in  io.Reader
	out bytes.Buffer
}

func says(b []byte) *monologue { return &monologue{in: bytes.NewReader(b)} }

func (m *monologue) Read(p []byte) (int, error)    { return m.in.Read(p) }
func (m *monologue) Write(p []byte) (int, error)   { return m.out.Write(p) }
func (*monologue) CloseWrite() error               { return nil }
func (*monologue) Close() error                    { return nil }
func (*monologue) Reset() error                    { return nil }
func (*monologue) SetDeadline(time.Time) error     { return nil }
func (*monologue) SetReadDeadline(time.Time) error { return nil }

// founded is the golden mesh's keys, its member, and a token of the member's. Every process of a fuzz run must have the same.
func founded(t testing.TB) (Keys, identity, token) {
	cfg := Config{Dir: "testdata"}
	keys, err := loadKeys(cfg)
	if err != nil {
		t.Fatal(err)
	}
	self, err := loadIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := keys.authority()
	if err != nil {
		t.Fatal(err)
	}
	tok := token{authority: fingerprint(ca), secret: [16]byte{5, 6}, expiry: time.Unix(1_900_000_000, 0), issuer: self.id}
	if _, err := hex.Decode(tok.mesh[:], []byte(keys.MeshID)); err != nil {
		t.Fatal(err)
	}
	return keys, self, tok
}

func message(f *testing.F, v any) []byte {
	var b bytes.Buffer
	if err := writeMessage(&b, v); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

// FuzzProof is who should prove to a joiner that it is of the token's mesh. Even a member's proof is good for one nonce only.
func FuzzProof(f *testing.F) {
	keys, member, tok := founded(f)
	cert, err := keys.issue(member.ID(), "n0", time.Unix(1_800_000_000, 0))
	if err != nil {
		f.Fatal(err)
	}
	sig, err := member.key.Sign(transcript(keys.MeshID, member.id, member.id, make([]byte, 32), make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message(f, joinProof{CA: keys.CACert, Certificate: cert, Nonce: make([]byte, 32), Signature: sig}))
	f.Add(message(f, joinProof{CA: keys.CAKey}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := tok.prove(says(b), member, member.id); err == nil {
			t.Fatal("proven without the nonce")
		}
	})
}

// FuzzGrant is what a member grants: keys, a certificate and who else there is. Nothing is taken that is not of the token's mesh and for us.
func FuzzGrant(f *testing.F) {
	keys, self, tok := founded(f)
	cert, err := keys.issue(self.ID(), "n1", time.Unix(1_800_000_000, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message(f, joinAnswer{Keys: keys, Certificate: cert, Peers: []known{{ID: "p", Name: "n2"}}}))
	f.Add(message(f, joinAnswer{Refused: "used"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a joinAnswer
		if readMessage(bytes.NewReader(b), maxJoin, &a) != nil || tok.accepts(self, a) != nil {
			return
		}
		if a.Keys.MeshID != tok.meshID() && !bytes.Equal(a.Keys.CACert, keys.CACert) {
			t.Fatalf("keys of mesh %s are taken for those of %s", a.Keys.MeshID, tok.meshID())
		}
	})
}

// FuzzCall is the far side of a call, as the one who asks and as the one who answers.
func FuzzCall(f *testing.F) {
	f.Add(append([]byte{replyOK}, message(f, "reply")...))
	f.Add(append([]byte{replyFailed}, message(f, "why")...))
	f.Add(message(f, "request"))
	f.Add([]byte{replyOK, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		reply, err := exchange(t.Context(), "p", says(b), []byte("request"))
		var remote *RemoteError
		if len(reply) > len(b) || errors.As(err, &remote) && len(remote.Text) > len(b) {
			t.Fatal("more than was said")
		}
		s := says(b)
		err = serveOne(t.Context(), "p", s, func(_ context.Context, _ ID, r []byte) ([]byte, error) {
			return nil, errors.New(string(r))
		})
		if err == nil && s.out.Len() > 1+4+maxErrText {
			t.Fatalf("an error of %d bytes", s.out.Len())
		}
	})
}

// FuzzClocks hears the wall clocks of peers: two that agree and are far off stop us, whatever they say.
func FuzzClocks(f *testing.F) {
	for _, at := range []uint64{0, uint64(time.Now().UnixMilli()), 1 << 62, 1 << 63, 1<<64 - 1} {
		f.Add(binary.BigEndian.AppendUint64(nil, at))
	}
	f.Add([]byte{1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := &link{mesh: &Mesh{clocks: newClocks(), log: slog.New(slog.DiscardHandler)}, evidence: make(chan evidence, 2)}
		for _, id := range []ID{"a", "b"} {
			if n.hear(bytes.NewReader(b), id, time.Now()) != nil {
				return
			}
		}
		far := time.Until(time.UnixMilli(int64(binary.BigEndian.Uint64(b)))).Abs()
		if err := n.mesh.clocks.fit(); (far > maxOffset+time.Second) != (err != nil) && (far < maxOffset-time.Second || far > maxOffset+time.Second) {
			t.Fatalf("two clocks are %s off: %v", far, err)
		}
	})
}

// FuzzMember reads what serf says of somebody, which whoever holds its key can make it say.
func FuzzMember(f *testing.F) {
	f.Add("p", []byte{10, 0, 0, 1}, uint16(7946), "n1", "eu", "a")
	f.Add("", []byte{1, 2, 3}, uint16(0), "", "", "")
	f.Fuzz(func(t *testing.T, id string, addr []byte, port uint16, name, region, zone string) {
		k, ok := memberOf(serf.Member{Name: id, Addr: addr, Port: port, Tags: map[string]string{tagName: name, tagRegion: region, tagZone: zone}})
		if ok != k.Addr.IsValid() || string(k.ID) != id {
			t.Fatalf("%+v, %v", k, ok)
		}
	})
}

// FuzzVerify checks signatures by whoever a record says wrote it.
func FuzzVerify(f *testing.F) {
	_, self, _ := founded(f)
	msg := []byte("what was signed")
	sig, err := self.key.Sign(msg)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(self.ID()), sig)
	f.Add(string(self.ID()), []byte{})
	f.Add("12D3KooWGRUfvQ2hYyBQUrsxDcPbW4vfHdGb8s6wFUVNoQRh1fGr", sig)
	f.Add("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", sig)
	f.Add("1", sig)
	f.Add(peer.ToCid(self.id).String(), sig) // another spelling of the same ID
	f.Fuzz(func(t *testing.T, actor string, s []byte) {
		if verify(actor, msg, s) == nil && !(actor == string(self.ID()) && bytes.Equal(s, sig)) {
			t.Fatalf("%x is taken for a signature of %s", s, actor)
		}
	})
}

// FuzzFiles reads what may stand in the files of a data directory, or be attached to a backup.
func FuzzFiles(f *testing.F) {
	for _, name := range goldenFiles {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	cfg := Config{Dir: f.TempDir()}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{identityFile, keysFile, certificateFile, peersFile} {
			if err := os.WriteFile(cfg.path(name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if id, err := loadIdentity(cfg); err == nil && id.id.Validate() != nil {
			t.Fatal("an identity without a peer ID")
		}
		if k, err := loadKeys(cfg); err == nil {
			if _, err := k.issue("p", "n", time.Now()); err != nil {
				t.Fatalf("keys that were taken issue nothing: %v", err)
			}
		}
		var c certificate
		_ = readJSON(cfg.path(certificateFile), &c)
		var m Manifest
		_ = json.Unmarshal(b, &m)
		book, err := openBook(cfg.path(peersFile))
		if err != nil {
			return
		}
		first, err := json.Marshal(book.all())
		if err != nil {
			t.Fatal(err)
		}
		var again []known
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("known peers do not survive being written: %v", err)
		}
	})
}

// shelf is a store of one object.
type shelf struct {
	registry
	body    []byte
	written *tokenRecord
}

func (s *shelf) Get(k store.Key) (*store.Object, store.Revision) {
	return &store.Object{Key: k, Bodies: [3][]byte{store.Intent: s.body}}, 1
}

func (s *shelf) Write(_ context.Context, w store.Write) (*store.Object, error) {
	s.body, s.written = w.Body, new(tokenRecord)
	return &store.Object{}, json.Unmarshal(w.Body, s.written)
}

// FuzzTokenRecord redeems a token whose record may say anything: nobody is let in unless it is used up by that.
func FuzzTokenRecord(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	for _, r := range []tokenRecord{{Expiry: now.Unix() + 60}, {Expiry: 1}, {Expiry: 1, UsedBy: "a", UsedAt: now.Unix()}, {Expiry: 1 << 62, UsedBy: "b"}} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"expiry":1e400}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &shelf{body: b}
		if redeem(t.Context(), s, []byte("secret"), "a", now) != nil {
			return
		}
		if s.written != nil {
			b, _ = json.Marshal(s.written)
		}
		var r tokenRecord
		if json.Unmarshal(b, &r) != nil || r.UsedBy != "a" {
			t.Fatalf("let in by %s", b)
		}
	})
}
