package docker_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/orpheus-mesh/orpheus/node/docker"
	"github.com/orpheus-mesh/orpheus/node/docker/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Isolate(m.Run)) }

const busybox = "busybox:test"

func spec(name string, cmd ...string) docker.Spec {
	return docker.Spec{Name: name,
		Config: container.Config{Image: busybox, Cmd: cmd, Labels: map[string]string{docker.Label: "u1", "who": name}},
		Host:   container.HostConfig{NetworkMode: "none"}}
}

func TestEngine(t *testing.T) {
	e := enginetest.Start(t)
	e.Busybox(t, busybox)
	ctx := t.Context()
	t.Run("pause", func(t *testing.T) { pause(ctx, t, e) })
	t.Run("life of a container", func(t *testing.T) { life(ctx, t, e) })
	t.Run("what cannot start says why", func(t *testing.T) { unstartable(ctx, t, e) })
	t.Run("exec and logs", func(t *testing.T) { execAndLogs(ctx, t, e) })
}

func pause(ctx context.Context, t *testing.T, e *enginetest.Engine) {
	image, err := e.EnsurePause(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := e.EnsurePause(ctx); err != nil || again != image {
		t.Fatalf("second time: %s, %v", again, err)
	}
	s := spec("sandbox")
	s.Config.Image = image
	s.Host.IpcMode = "shareable"
	id := run(ctx, t, e, s)
	child := spec("child", "sh", "-c", "(sleep 0 & exec true) ; sleep 600")
	child.Host.PidMode = container.PidMode("container:" + id)
	run(ctx, t, e, child)
	if c := inspect(ctx, t, e, id); c.State != docker.Running || c.PID == 0 {
		t.Fatalf("pause does not hold: %+v", c)
	}
}

func life(ctx context.Context, t *testing.T, e *enginetest.Engine) {
	events := make(chan docker.Event, 100)
	connected := make(chan struct{}, 1)
	watch, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		e.Events(watch, func(ev docker.Event) { events <- ev }, func() { connected <- struct{}{} })
	}()
	defer func() { stop(); <-over }()
	<-connected
	id := run(ctx, t, e, spec("life", "sh", "-c", "trap 'exit 7' TERM; while true; do sleep 0.1; done"))
	expect(t, events, id, "start")
	if _, err := e.Create(ctx, spec("life", "true")); err == nil {
		t.Error("a running container was replaced")
	}
	if err := e.Signal(ctx, id, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	if err := e.Wait(ctx, id); err != nil {
		t.Fatal(err)
	}
	expect(t, events, id, "die")
	c := inspect(ctx, t, e, id)
	if c.State != docker.Exited || c.ExitCode != 7 || c.Finished.IsZero() || c.Started.IsZero() {
		t.Errorf("after SIGTERM: %+v", c)
	}
	if err := e.Signal(ctx, id, "SIGKILL"); err != nil {
		t.Errorf("signal to a dead container: %v", err)
	}
	all, err := e.List(ctx, nil, "who=life")
	if err != nil || len(all) != 1 || all[0].ID != id {
		t.Fatalf("list: %v, %v", all, err)
	}
	for range 2 {
		if err := e.Remove(ctx, id); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	expect(t, events, id, "destroy")
	if err := e.Wait(ctx, id); err != nil {
		t.Errorf("wait for one that is gone: %v", err)
	}
}

func unstartable(ctx context.Context, t *testing.T, e *enginetest.Engine) {
	for range 2 { // also over the remains of the first try
		id, err := e.Create(ctx, spec("broken", "/no/such/program"))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Start(ctx, id); err == nil {
			t.Fatal("started")
		}
		if c := inspect(ctx, t, e, id); !c.Dead() || !strings.Contains(c.Error, "no such file") {
			t.Fatalf("%+v", c)
		}
	}
}

func execAndLogs(ctx context.Context, t *testing.T, e *enginetest.Engine) {
	id := run(ctx, t, e, spec("talk", "sh", "-c", "echo one; echo two >&2; sleep 600"))
	var out, errs bytes.Buffer
	code, err := e.Exec(ctx, id, []string{"sh", "-c", "cat; echo bad >&2; exit 3"}, docker.Streams{In: strings.NewReader("in"), Out: &out, Err: &errs})
	if err != nil || code != 3 || out.String() != "in" || errs.String() != "bad\n" {
		t.Errorf("exec: %d %v %q %q", code, err, out.String(), errs.String())
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := e.Exec(short, id, []string{"sleep", "60"}, docker.Streams{Out: &out}); err == nil {
		t.Error("exec outlived its time")
	}
	out.Reset()
	errs.Reset()
	if err := e.Logs(ctx, id, docker.LogOptions{Tail: -1}, &out, &errs); err != nil || out.String() != "one\n" || errs.String() != "two\n" {
		t.Errorf("logs: %v %q %q", err, out.String(), errs.String())
	}
}

func run(ctx context.Context, t *testing.T, e *enginetest.Engine, s docker.Spec) string {
	t.Helper()
	id, err := e.Create(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	return id
}

func inspect(ctx context.Context, t *testing.T, e *enginetest.Engine, id string) docker.Container {
	t.Helper()
	c, err := e.Inspect(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func expect(t *testing.T, events <-chan docker.Event, id, action string) {
	t.Helper()
	for {
		select {
		case ev := <-events:
			if ev.Container == id && ev.Action == action && ev.PodUID == "u1" {
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no event %s", action)
		}
	}
}
