package faults

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// TestNearby: a token whose addresses are dead still leads to its mesh when a member is on the same switch, and never to
// another mesh there.
func TestNearby(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	binary := needs(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	l := bare(ctx, t, binary)

	var g errgroup.Group
	g.Go(func() error { return l.m.Up(ctx, "x1", "") })
	g.Go(func() error { return l.m.Up(ctx, "x3", "") }) // another mesh, on the same switch
	l.check(g.Wait())
	token, err := l.m.Token(ctx, "x1")
	l.check(err)
	l.check(l.m.Stop(ctx, "x1"))

	// While no member of its mesh is there, the token leads nowhere, least of all to the other mesh.
	if err := contains(l.refusal("x2", token), "no member of the mesh could be reached"); err != nil {
		t.Errorf("with only another mesh on the switch the joiner is told otherwise: %v", err)
	}
	if seen := l.log("x3"); strings.Contains(seen, "admitted a new member") || strings.Contains(seen, "refused to admit") {
		t.Error("the other mesh was asked for admission")
	}

	l.check(l.elsewhere("x1", 7947)) // where the token does not say
	l.check(l.m.Up(ctx, "x2", token))
	l.sees("x1", 2)
	l.sees("x2", 2)
	l.sees("x3", 1)
	if at := l.orpheus("x2", "members"); contains(at, "x1", "x2") != nil || strings.Contains(at, "\nx3 ") { // an ID may hold it
		t.Errorf("x2 is a member of\n%s", at)
	}
	if err := contains(l.log("x2"), "looking on the local link"); err != nil {
		t.Error("it did not join by mDNS")
	}
}

// bare is the hosts without a mesh.
func bare(ctx context.Context, t *testing.T, binary string) lab {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := bed.New(bed.Config{Dir: "/var/lib/orpheus-faults", Prefix: "x", Net: 225, Hosts: len(hosts), Log: log})
	alone(t)
	l := lab{t: t, ctx: ctx, m: &mesh.Mesh{Bed: b, Binary: binary, Log: log}}
	l.check(err)
	l.check(b.Down(ctx))
	t.Cleanup(func() {
		if t.Failed() {
			l.keepLogs()
		}
		if err := b.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	l.check(b.Up(ctx))
	return l
}

// refusal is what a daemon says that must not get in and ends by itself.
func (l lab) refusal(host, token string) string {
	l.t.Helper()
	dir := l.path(host, "refused")
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	out, err := l.m.Bed.CommandContext(ctx, host, l.m.Binary, "up", "--name", host, "--data-dir", dir, "--run-dir", dir+"/run", "--join", token).CombinedOutput()
	if err == nil || ctx.Err() != nil {
		l.t.Fatalf("it did not end with an error: %v", err)
	}
	return string(out)
}

// elsewhere starts the daemon of a host again, with the mesh on another port.
func (l lab) elsewhere(host string, port int) error {
	h, err := l.m.Bed.Host(host)
	if err != nil {
		return err
	}
	argv := []string{l.m.Binary, "up", "--name", h.Name, "--data-dir", l.path(host, "orpheus"), "--run-dir", l.path(host, "orpheus-run"),
		"--docker", "unix://" + l.m.Bed.Socket(h.Name), "--advertise", h.Addr.String(), "--listen", fmt.Sprintf("0.0.0.0:%d", port),
		"--region", "region-1", "--zone", h.Name, "--access-log", filepath.Join(l.path(host), "access.log"), "--debug"}
	if err := l.m.Bed.Start(h.Name, "orpheus", argv, ""); err != nil {
		return err
	}
	return l.m.Ready(l.ctx, host)
}
