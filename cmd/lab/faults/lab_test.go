package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

func TestMain(m *testing.M) {
	if bed.Main() { // the lab's relay runs in this binary
		return
	}
	os.Exit(m.Run())
}

// hosts are those of the lab. The cases follow one another on one mesh; each leaves it well.
var hosts = []string{"x1", "x2", "x3"}

// patience is how long anything may take. It is no promise: the machine is shared.
const patience = 60 * time.Second

// TestFaults plays every case on one mesh of three.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	binary := needs(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	l := raise(ctx, t, binary)
	for _, c := range []struct {
		name string
		play func(lab)
	}{
		{"engine", engine}, {"daemon", daemon}, {"restart", restart}, {"linger", linger}, {"streams", streams}, {"secrets", secrets}, {"conflicts", conflicts}, {"tokens", tokens}, {"images", badImages},
		{"corrupt", corrupt}, {"disk", fullDisk}, {"ports", ports}, {"fence", fence}, {"fence of a server that lives", fenceIsolated}, {"rejoin", rejoin}, {"placement", placing},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l
			l.t = t
			c.play(l)
			l.calm()
		})
	}
}

func needs(t *testing.T) (binary string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a lab of real hosts needs root")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("a lab of real hosts needs Docker Engine: run `make setup`")
	}
	binary, err := filepath.Abs("../../../bin/orpheus")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("needs bin/orpheus: run `make build` (%v)", err)
	}
	return binary
}

// lab is a mesh on three hosts, in the words of the cases.
type lab struct {
	t       *testing.T
	ctx     context.Context
	m       *mesh.Mesh
	used    string // a token that x2 joined with
	foreign string // a token of a mesh that is no more, whose server's address is x3's
}

func raise(ctx context.Context, t *testing.T, binary string) lab {
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
		if os.Getenv("KEEP_LAB") != "" {
			t.Log("KEEP_LAB is set: the lab is left standing in /var/lib/orpheus-faults")
			return
		}
		if err := b.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	l.check(b.Up(ctx))
	l.foreign = l.foreignToken()
	l.check(l.m.Up(ctx, "x1", ""))
	g, gctx := errgroup.WithContext(ctx)
	l.used, err = l.m.Token(ctx, "x1")
	l.check(err)
	g.Go(func() error { return l.m.Up(gctx, "x2", l.used) })
	g.Go(func() error { return l.join(gctx, "x3") })
	g.Go(func() error {
		if err := images.Build(gctx, "unix://"+b.Socket("x1"), images.Busybox); err != nil {
			return err
		}
		_, err := l.m.Orpheus(gctx, "x1", nil, "image", "add", images.Busybox)
		return err
	})
	l.check(g.Wait())
	l.apply("x1", steady)
	l.calm()
	return l
}

// alone refuses a second run on this machine: each takes down what it finds, so that one would cut off the other's hosts.
func alone(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "orpheus-faults.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatalf("these tests run on this machine already, wait for them (%s: %v)", f.Name(), err)
	}
}

// steady runs on every host and must not feel what happens to others.
const steady = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: steady}
spec:
  selector: {matchLabels: {app: steady}}
  template:
    metadata: {labels: {app: steady}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "busybox:1", command: [sleep, "100000"]}]
`

func (l lab) join(ctx context.Context, host string) error {
	token, err := l.m.Token(ctx, "x1")
	if err != nil {
		return err
	}
	return l.m.Up(ctx, host, token)
}

func (l lab) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// soon waits until check is content.
func (l lab) soon(what string, check func() error) {
	l.t.Helper()
	l.check(mesh.Eventually(l.ctx, patience, what, check))
}

// kubectl is typed on a host and must succeed.
func (l lab) kubectl(host string, args ...string) string {
	l.t.Helper()
	out, err := l.m.Kubectl(l.ctx, host, args...)
	l.check(err)
	return strings.TrimSpace(out)
}

func (l lab) apply(host, yaml string) {
	l.t.Helper()
	l.check(l.m.Apply(l.ctx, host, yaml))
}

// orpheus is typed on a host and must succeed.
func (l lab) orpheus(host string, args ...string) string {
	l.t.Helper()
	out, err := l.m.Orpheus(l.ctx, host, nil, args...)
	l.check(err)
	return strings.TrimSpace(string(out))
}

// status is what a person reads, well or not.
func (l lab) status(host string) string {
	out, err := l.m.Orpheus(l.ctx, host, nil, "status")
	if len(out) == 0 && err != nil {
		return err.Error()
	}
	return string(out)
}

// says waits until `orpheus status` contains all the words.
func (l lab) says(host string, words ...string) {
	l.t.Helper()
	l.soon(host+" says it in its status", func() error { return contains(l.status(host), words...) })
}

func contains(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("%q is not in:\n%s", w, text)
		}
	}
	return nil
}

// docker asks a host's engine.
func (l lab) docker(host string, args ...string) (string, error) {
	out, err := l.m.Bed.Exec(l.ctx, host, append([]string{"docker", "-H", "unix://" + l.m.Bed.Socket(host)}, args...)...)
	return strings.TrimSpace(string(out)), err
}

// processes are the steady pod's containers on a host, with the process and the start of each: they change when one is restarted.
func (l lab) processes(host string) string {
	l.t.Helper()
	ids, err := l.docker(host, "ps", "-q", "--no-trunc")
	l.check(err)
	if ids == "" {
		l.t.Fatalf("nothing runs on %s", host)
	}
	out, err := l.docker(host, append([]string{"inspect", "-f", "{{.Name}} {{.State.Pid}} {{.State.StartedAt}}"}, strings.Fields(ids)...)...)
	l.check(err)
	return out
}

func (l lab) path(host string, elem ...string) string {
	l.t.Helper()
	p, err := l.m.Bed.Path(host, elem...)
	l.check(err)
	return p
}

func (l lab) log(host string) string {
	b, err := os.ReadFile(l.path(host, "log", "orpheus.log"))
	l.check(err)
	return string(b)
}

// sees waits until a host has so many servers in sight.
func (l lab) sees(host string, alive int) {
	l.t.Helper()
	l.soon(fmt.Sprintf("%s sees %d servers", host, alive), func() error {
		s, err := l.m.Status(l.ctx, host)
		if err == nil && s.Alive != alive {
			err = fmt.Errorf("it sees %d", s.Alive)
		}
		return err
	})
}

// calm waits until the mesh is whole: all in sight of all, replicas equal, nodes Ready, the steady pods too.
func (l lab) calm() {
	l.t.Helper()
	l.soon("the mesh is whole", func() error {
		var root string
		for _, h := range hosts {
			s, err := l.m.Status(l.ctx, h)
			if err != nil {
				return err
			}
			if s.Alive != len(hosts) || !s.Ready {
				return fmt.Errorf("%s sees %d servers, ready: %t", h, s.Alive, s.Ready)
			}
			if root == "" {
				root = s.Root
			}
			if s.Root != root {
				return fmt.Errorf("%s has another fingerprint than %s", h, hosts[0])
			}
		}
		return l.running()
	})
}

func (l lab) running() error {
	nodes, err := l.m.Kubectl(l.ctx, "x1", "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}`)
	if err != nil {
		return err
	}
	if strings.TrimSpace(nodes) != "x1=True x2=True x3=True" {
		return fmt.Errorf("nodes: %s", nodes)
	}
	ready, err := l.m.Kubectl(l.ctx, "x1", "get", "daemonset", "steady", "-o", "jsonpath={.status.numberReady} of {.status.desiredNumberScheduled}")
	if err == nil && ready != "3 of 3" {
		err = errors.New("steady pods ready: " + ready)
	}
	return err
}

// keepLogs shows what the daemons complained of.
func (l lab) keepLogs() {
	for _, h := range hosts {
		path, err := l.m.Bed.Path(h, "log", "orpheus.log")
		if err != nil {
			continue
		}
		out, _ := exec.Command("sh", "-c", `grep -E 'level=(WARN|ERROR)|panic|fatal' "$1" | tail -n 25`, "sh", path).CombinedOutput()
		members, _ := l.m.Orpheus(context.WithoutCancel(l.ctx), h, nil, "members") // it may not run
		l.t.Logf("%s:\n%s\n%s", path, strings.TrimSpace(string(out)), members)
	}
}
