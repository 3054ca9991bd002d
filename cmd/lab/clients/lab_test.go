package clients

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// atOnce is how many scenes play at a time: they mostly wait.
const atOnce = "4"

func TestMain(m *testing.M) {
	if bed.Main() { // the lab's relay runs in this binary
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// second is a second reference of the same image, so that a rollout has something to roll to.
const second = "busybox:2"

// tools are the programs under test, by absolute path.
type tools struct{ orpheus, kubectl, helm string }

func findTools(t *testing.T) tools {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a lab of real hosts needs root")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("a lab of real hosts needs Docker Engine: run `make setup`")
	}
	var found tools
	for _, tool := range []struct {
		path *string
		file string
		mend string
	}{{&found.orpheus, "orpheus", "make build"}, {&found.kubectl, "clients/kubectl", "make clients"}, {&found.helm, "clients/helm", "make clients"}} {
		path, err := filepath.Abs(filepath.Join("../../../bin", tool.file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Skipf("needs bin/%s: run `%s` (%v)", tool.file, tool.mend, err)
		}
		*tool.path = path
	}
	return found
}

// TestClients plays every scene with every client on one mesh.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	with := findTools(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	m := raise(ctx, t, with)
	clients := []*client{
		{label: "embedded", at: "c1", far: "c2", third: "c3", argv: []string{with.orpheus, "kubectl"}},
		{label: "separate", at: "c3", far: "c1", third: "c2", argv: []string{with.kubectl}},
	}
	all := clients
	helm := &client{label: "helm", at: "c2", far: "c3", third: "c1", argv: []string{with.kubectl}, helm: with.helm}
	all = append(all, helm)
	t.Run("seats", func(t *testing.T) {
		for _, c := range all {
			c.seat(ctx, t, m)
		}
	})
	if t.Failed() {
		return
	}
	t.Run("together", func(t *testing.T) {
		play(ctx, t, helm, helmScenes(), true)
		for _, c := range clients {
			play(ctx, t, c, shared(), true)
		}
	})
	for _, c := range clients {
		play(ctx, t, c, alone(), false)
	}
}

// shared are the scenes that leave the hosts in peace.
func shared() []scene {
	var all []scene
	for _, some := range [][]scene{readScenes(), watchScenes(), applyScenes(), editScenes(), rolloutScenes(), logScenes(), execScenes(), forwardScenes(),
		accessScenes(), createScenes(), deleteScenes(), refusalScenes(), brokenPodScenes()} {
		all = append(all, some...)
	}
	return all
}

// alone are those that cordon, taint and drain hosts; others' pods would feel it.
func alone() []scene { return nodeScenes() }

func play(ctx context.Context, t *testing.T, c *client, scenes []scene, parallel bool) {
	for _, s := range scenes {
		t.Run(c.label+"/"+s.name, func(t *testing.T) {
			if parallel {
				t.Parallel()
			}
			ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
			defer cancel()
			a := &actor{client: c, t: t, ctx: ctx, dir: t.TempDir()}
			s.play(a)
		})
	}
}

// raise builds the lab and the mesh on it, with the images on one host only.
func raise(ctx context.Context, t *testing.T, with tools) *mesh.Mesh {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := bed.New(bed.Config{Dir: "/var/lib/olab-c", Prefix: "c", Net: 235, Hosts: 3, Log: log})
	check(t, err)
	check(t, b.Down(ctx))
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, b)
		}
		if os.Getenv("KEEP_LAB") != "" {
			t.Log("KEEP_LAB is set: the lab is left standing in /var/lib/olab-c")
			return
		}
		if err := b.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	check(t, b.Up(ctx))
	m := &mesh.Mesh{Bed: b, Binary: with.orpheus, Log: log}
	check(t, m.Up(ctx, "c1", ""))
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range []string{"c2", "c3"} {
		g.Go(func() error {
			token, err := m.Token(gctx, "c1")
			if err != nil {
				return err
			}
			return m.Up(gctx, h, token)
		})
	}
	g.Go(func() error { return share(gctx, m, "c1") })
	check(t, g.Wait())
	return m
}

func share(ctx context.Context, m *mesh.Mesh, host string) error {
	engine := "unix://" + m.Bed.Socket(host)
	if err := images.Build(ctx, engine, images.Busybox); err != nil {
		return err
	}
	if _, err := m.Bed.Exec(ctx, host, "docker", "-H", engine, "tag", images.Busybox, second); err != nil {
		return err
	}
	for _, ref := range []string{images.Busybox, second} {
		if _, err := m.Orpheus(ctx, host, nil, "image", "add", ref); err != nil {
			return fmt.Errorf("share %s: %w", ref, err)
		}
	}
	return nil
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keepLogs shows what the daemons complained of.
func keepLogs(t *testing.T, b *bed.Bed) {
	for _, h := range []string{"c1", "c2", "c3"} {
		path, err := b.Path(h, "log", "orpheus.log")
		if err != nil {
			continue
		}
		out, _ := exec.Command("sh", "-c", `grep -E 'level=(WARN|ERROR)|panic|fatal' "$1" | tail -n 25`, "sh", path).CombinedOutput()
		t.Logf("%s:\n%s", path, strings.TrimSpace(string(out)))
	}
}
