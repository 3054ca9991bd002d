package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fake is a daemon that remembers what it was asked.
type fake struct {
	Daemon
	archive []byte
	ttl     time.Duration
}

func (f *fake) Status(context.Context) Status { return Status{Name: "a", Members: 3} }
func (f *fake) CreateToken(_ context.Context, ttl time.Duration) (string, error) {
	if ttl < 0 {
		return "", errors.New("ttl: may not be negative")
	}
	f.ttl = ttl
	return "orph1.x", nil
}
func (f *fake) LoadImage(_ context.Context, r io.Reader) (_ []Image, err error) {
	f.archive, err = io.ReadAll(r)
	return []Image{{Ref: "todo:v1"}}, err
}

func serve(t *testing.T, d Daemon) *Client {
	socket := filepath.Join(t.TempDir(), "run", "orpheus.sock")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, socket, d, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c := Dial(socket)
	for {
		if _, err := c.Status(t.Context()); err == nil {
			return c
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-t.Context().Done():
			t.Fatal("never served")
		default:
		}
	}
}

func TestCallsCarryValuesBothWays(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	if s, err := c.Status(t.Context()); err != nil || s.Members != 3 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if tok, err := c.CreateToken(t.Context(), time.Minute); err != nil || tok != "orph1.x" || f.ttl != time.Minute {
		t.Errorf("token: %q, %v, ttl %s", tok, err, f.ttl)
	}
	big := bytes.Repeat([]byte("layer"), 1<<20)
	if recs, err := c.LoadImage(t.Context(), bytes.NewReader(big)); err != nil || len(recs) != 1 || !bytes.Equal(f.archive, big) {
		t.Errorf("load: %v, %v, %d bytes", recs, err, len(f.archive))
	}
}

func TestTheDaemonsWordsReachTheCaller(t *testing.T) {
	_, err := serve(t, &fake{}).CreateToken(t.Context(), -1)
	if err == nil || err.Error() != "ttl: may not be negative" {
		t.Errorf("got %v", err)
	}
}

func TestNoDaemonSaysHowToStartIt(t *testing.T) {
	_, err := Dial(filepath.Join(t.TempDir(), "none.sock")).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "orpheus up") {
		t.Errorf("got %v", err)
	}
}

func TestASecondDaemonIsRefusedAndAStaleSocketReplaced(t *testing.T) {
	c := serve(t, &fake{})
	err := Serve(t.Context(), c.socket, &fake{}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "another orpheus daemon") {
		t.Errorf("got %v", err)
	}
}
