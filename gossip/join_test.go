package gossip

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

func TestTokenAdmitsOnceAndByAnyMember(t *testing.T) {
	all := cluster(t, 2)
	text := all[0].token()
	tok, err := parseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	// The other member redeems it: the record travels with the store.
	agree(t, 10*time.Second, all...)
	tok.issuer, tok.addrs = all[1].self.id, all[1].tokenAddrs()
	cfg := configure(t, "late")
	if err := Join(t.Context(), cfg, tok.String()); err != nil {
		t.Fatal(err)
	}
	late := start(t, cfg)
	late.await(all[0], Alive, 10*time.Second)

	agree(t, 10*time.Second, all[0], all[1], late)
	if err := Join(t.Context(), configure(t, "second"), text); !errors.Is(err, ErrTokenUsed) {
		t.Errorf("second use: %v, want ErrTokenUsed", err)
	}
	if err := Join(t.Context(), cfg, text); !errors.Is(err, ErrInitialised) {
		t.Errorf("join of a member: %v, want ErrInitialised", err)
	}
}

func TestLostAnswerMayBeAskedForAgain(t *testing.T) {
	first := found1(t, "n0")
	text := first.token()
	cfg := configure(t, "n1")
	if err := Join(t.Context(), cfg, text); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cfg.path(keysFile)); err != nil { // as if the answer had been lost: only the identity counts
		t.Fatal(err)
	}
	if err := Join(t.Context(), cfg, text); err != nil {
		t.Errorf("the same peer asks again: %v", err)
	}
}

func TestJoinSaysWhyNot(t *testing.T) {
	var log logBuffer
	cfg := configure(t, "n0")
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := Create(cfg); err != nil {
		t.Fatal(err)
	}
	first := start(t, cfg)
	other := found1(t, "other")
	good, err := parseToken(first.token())
	if err != nil {
		t.Fatal(err)
	}
	forged := good
	forged.secret[0] ^= 1
	old, err := newToken(first.keys, first.self.id, first.tokenAddrs(), time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if err := recordToken(t.Context(), first.store, old); err != nil {
		t.Fatal(err)
	}
	stranger := good
	stranger.issuer, stranger.addrs = other.self.id, other.tokenAddrs()
	nowhere := good
	nowhere.addrs = multiaddrs(freePort(t))
	text := good.String()
	wrong := "x"
	if text[40] == 'x' {
		wrong = "y"
	}
	for _, c := range []struct {
		what, token, name, logged string
		want                      error
	}{
		{"mistyped", text[:40] + wrong + text[41:], "a", "", ErrTokenInvalid},
		{"cut off", text[:len(text)-9], "a", "", ErrTokenInvalid},
		{"not a token", "hello", "a", "", ErrTokenInvalid},
		{"forged", forged.String(), "a", "not valid", ErrTokenInvalid},
		{"expired", old.String(), "a", "expired", ErrTokenExpired},
		{"name taken", text, "n0", "host name", ErrNameTaken},
		{"another mesh answers", stranger.String(), "a", "", ErrWrongMesh},
		{"nobody answers", nowhere.String(), "a", "", ErrUnreachable},
	} {
		t.Run(c.what, func(t *testing.T) {
			cfg := configure(t, c.name)
			err := Join(t.Context(), cfg, c.token)
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			for begun := time.Now(); !strings.Contains(log.String(), c.logged) && time.Since(begun) < 2*time.Second; {
				time.Sleep(time.Millisecond) // the member logs after it has answered
			}
			if !strings.Contains(log.String(), c.logged) {
				t.Errorf("the member logged nothing about %q:\n%s", c.logged, log.String())
			}
			if Initialised(cfg.Dir) {
				t.Error("the directory belongs to a mesh after a refused join")
			}
		})
	}
	if err := Join(t.Context(), configure(t, "a"), text); err != nil {
		t.Errorf("the good token after all of that: %v", err)
	}
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestStrangerGetsNothing(t *testing.T) {
	first := found1(t, "n0")
	first.put("secret", "plans")
	first.Serve("/test/echo/1", func(_ context.Context, _ ID, r []byte) ([]byte, error) { return r, nil })

	// A rogue with a mesh of its own: a valid certificate, but of another authority.
	rogue := found1(t, "rogue")
	rogue.book.learn(known{ID: first.Self().ID, Name: "n0", Addr: first.Self().Addr})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	k, _ := rogue.book.get(first.Self().ID)
	if err := rogue.link().reach(ctx, k); err == nil {
		t.Error("the rogue was admitted")
	}

	// A stranger without any certificate, who skips the hello.
	self, err := loadIdentity(configure(t, "stranger"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := newGuest(first.cfg, self)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, proto := range []string{"/test/echo/1", checkProtocol, serfProtocol, reconcileProtocol, proposeProtocol, farewellProtocol, "/meshsub/1.2.0"} {
		if err := h.Connect(ctx, peer.AddrInfo{ID: first.self.id, Addrs: first.tokenAddrs()}); err != nil {
			t.Fatal(err)
		}
		s, err := h.NewStream(ctx, first.self.id, protocol.ID(proto))
		if err != nil {
			continue // refused at once is fine as well
		}
		_ = s.SetDeadline(time.Now().Add(8 * time.Second))
		_ = writeFrame(s, []byte("hi"))
		if n, err := s.Read(make([]byte, 1)); n > 0 {
			t.Errorf("%s answered a stranger (%v)", proto, err)
		}
	}
	if got := first.Members(); len(got) != 1 {
		t.Errorf("members after the rogues: %+v", got)
	}
}

func TestTokenText(t *testing.T) {
	keys, err := newKeys(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	self, err := loadIdentity(configure(t, "x"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := newToken(keys, self.id, []ma.Multiaddr{
		ma.StringCast("/ip4/192.0.2.1/udp/7946/quic-v1"), ma.StringCast("/ip6/2001:db8::1/tcp/7946")}, time.Unix(1900000000, 0))
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseToken("  " + want.String() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() || got.meshID() != keys.MeshID || len(got.addrs) != 2 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTokenRecordAllows(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	live, dead := now.Add(time.Minute).Unix(), now.Add(-time.Minute).Unix()
	for _, c := range []struct {
		what  string
		rec   tokenRecord
		again bool
		want  error
	}{
		{"fresh", tokenRecord{Expiry: live}, false, nil},
		{"expired", tokenRecord{Expiry: dead}, false, ErrTokenExpired},
		{"used by another", tokenRecord{Expiry: live, UsedBy: "b", UsedAt: now.Unix()}, false, ErrTokenUsed},
		{"used by the same a moment ago", tokenRecord{Expiry: live, UsedBy: "a", UsedAt: now.Add(-9 * time.Minute).Unix()}, true, nil},
		{"used by the same, expired since", tokenRecord{Expiry: dead, UsedBy: "a", UsedAt: now.Add(-9 * time.Minute).Unix()}, true, nil},
		{"used by the same long ago", tokenRecord{Expiry: live, UsedBy: "a", UsedAt: now.Add(-11 * time.Minute).Unix()}, false, ErrTokenUsed},
	} {
		again, err := c.rec.allows("a", now)
		if again != c.again || !errors.Is(err, c.want) {
			t.Errorf("%s: again %v, error %v", c.what, again, err)
		}
	}
}

func TestFilesAreSecret(t *testing.T) {
	cfg := configure(t, "n0")
	if err := Create(cfg); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{identityFile, keysFile, certificateFile, peersFile} {
		info, err := os.Stat(filepath.Join(cfg.Dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", f, info.Mode().Perm())
		}
	}
	if err := Create(cfg); !errors.Is(err, ErrInitialised) {
		t.Errorf("second create: %v", err)
	}
}
