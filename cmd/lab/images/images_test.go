package images

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
)

// engine is a host of its own for the test.
func engine(t *testing.T) (b *bed.Bed, docker func(args ...string) string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("an engine of its own needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "images-")
	if err != nil {
		t.Fatal(err)
	}
	b, err = bed.New(bed.Config{Dir: dir, Prefix: "img", Hosts: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := b.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "docker", append([]string{"-H", "unix://" + b.Socket("1")}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("docker %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
}

func TestImagesRun(t *testing.T) {
	b, docker := engine(t)
	if err := Build(t.Context(), "unix://"+b.Socket("1")); err != nil {
		t.Fatal(err)
	}
	for _, ref := range Names() {
		docker("image", "inspect", ref)
	}
	if out := docker("run", "--rm", "--network", "none", Busybox, "sh", "-c", "ls / | grep -c tmp && id -u"); out != "1\n0" {
		t.Errorf("busybox says %q", out)
	}
	// All three tiers in the host's own network: a page, an API, and a database behind a password.
	docker("run", "-d", "--name", "redis", "--network", "host", Redis, "redis-server", "/etc/redis/redis.conf", "--requirepass", "pw")
	docker("run", "-d", "--name", "backend", "--network", "host", "-e", "LISTEN=:8081", "-e", "REDIS_ADDR=127.0.0.1:6379", "-e", "REDIS_PASSWORD=pw", BackendV1)
	docker("run", "-d", "--name", "frontend", "--network", "host", "-e", "BACKEND_URL=http://127.0.0.1:8081", FrontendV2)
	answer := eventually(t, func() string {
		out, _ := b.Exec(t.Context(), "client", "curl", "-sSi", "--max-time", "2", "-d", `{"title":"milk"}`, "http://10.201.0.11:8080/api/todos")
		return string(out)
	}, "200 OK")
	for _, want := range []string{"frontend img1 v2", "backend img1 v1", `"title":"milk"`} {
		if !strings.Contains(answer, want) {
			t.Errorf("answer without %q:\n%s", want, answer)
		}
	}
	if out := docker("exec", "-e", "REDISCLI_AUTH=pw", "redis", "redis-cli", "-e", "ping"); out != "PONG" {
		t.Errorf("redis says %q", out)
	}
	for name, user := range map[string]string{"redis": "999", "backend": "65532", "frontend": "65532"} {
		if out := docker("top", name, "-o", "pid,uid"); !strings.HasSuffix(out, user) {
			t.Errorf("%s runs as %q, want user %s", name, out, user)
		}
	}
}

func eventually(t *testing.T, f func() string, want string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		got := f()
		if strings.Contains(got, want) {
			return got
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no %q, the last answer was %q", want, got)
		case <-tick.C:
		}
	}
}

func TestDockerfileFromLocalBinary(t *testing.T) {
	if _, err := os.Stat("../../../bin/orpheus"); err != nil {
		t.Skip("bin/orpheus is not built: make build")
	}
	b, docker := engine(t)
	if err := FromDockerfile(t.Context(), "unix://"+b.Socket("1"), "../../..", "orpheus:local"); err != nil {
		t.Fatal(err)
	}
	if out := docker("run", "--rm", "--network", "none", "orpheus:local", "version"); !strings.Contains(out, "orpheus") {
		t.Errorf("version says %q", out)
	}
	state := t.TempDir()
	socket := b.Socket("1")
	// What --privileged would give, but for CAP_SYS_RESOURCE, which nested machines deny.
	docker("run", "--detach", "--name", "orpheus", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE",
		"--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined", "--network", "host", "--pid", "host",
		"--volume", socket+":/var/run/docker.sock", "--volume", state+":/var/lib/orpheus", "orpheus:local", "up", "--name", "boxed", "--mdns=false")
	defer docker("rm", "--force", "orpheus")
	said := ""
	for range 300 { // it answers within a second or two; the machine may be busy
		out, _ := exec.Command("docker", "-H", "unix://"+socket, "exec", "orpheus", "/orpheus", "status", "--json").Output()
		if said = string(out); strings.Contains(said, `"Ready":true`) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("a daemon in a container says of itself: %q; its log: %s", said, docker("logs", "--tail", "20", "orpheus"))
}

func TestUnknownImage(t *testing.T) {
	if err := Build(t.Context(), "unix:///nowhere", "nginx:1"); err == nil || !strings.Contains(err.Error(), Busybox) {
		t.Errorf("error %v, want one that names what there is", err)
	}
}

// The same files give the same bytes: what is built on two hosts is one layer.
func TestArchiveIsTheSameEachTime(t *testing.T) {
	var first, second bytes.Buffer
	for _, w := range []io.Writer{&first, &second} {
		a := newArchive(w)
		if err := busybox(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if err := a.close(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of one recipe differ")
	}
}
