package stories

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/images"
	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// The lab of these tests, one at a time.
const (
	labDir    = "/var/lib/orpheus-stories"
	labPrefix = "s"
	labNet    = 240
)

// readme is the commands of a section of README, in order: its code lines and what their comments name as well.
func readme(t *testing.T, heading, program string) (commands []string) {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("README has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		code, isCode := strings.CutPrefix(line, "    ")
		if !isCode {
			continue
		}
		code, comment, _ := strings.Cut(code, "#")
		commands = append(commands, strings.TrimSpace(code))
		for more := range strings.SplitSeq(comment, "; ") {
			if more = strings.TrimPrefix(strings.TrimSpace(more), "or: "); strings.HasPrefix(more, program+" ") {
				commands = append(commands, more)
			}
		}
	}
	return commands
}

// README's way onto real servers, as it is written: on two hosts, where the environment says what differs between them.
func TestReadmeServers(t *testing.T) {
	binary := needs(t)
	commands := readme(t, "On real servers", "orpheus")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	b := raise(ctx, t, 2)
	if err := images.Build(ctx, "unix://"+b.Socket("s1"), images.Busybox); err != nil {
		t.Fatal(err)
	}
	r := reader{t: t, ctx: ctx, b: b, binary: binary, work: t.TempDir()}
	r.prepare()
	token := ""
	for _, command := range commands {
		switch {
		case command == "orpheus up":
			r.daemon("s1", command)
			r.run("s1", "orpheus image add "+images.Busybox)
		case strings.Contains(command, "--join TOKEN"):
			r.daemon("s2", strings.ReplaceAll(command, "TOKEN", token))
		case command == "orpheus token create":
			token = strings.TrimSpace(r.run("s1", command))
		case command == "orpheus status": // the pod that was just applied may still start
			err := mesh.Eventually(ctx, 60*time.Second, command, func() error {
				out, err := r.try("s1", command)
				return errors.Join(err, says(out, "all is well"))
			})
			if err != nil {
				t.Error(err)
			}
		default:
			r.run("s1", command)
		}
	}
	if out := r.run("s2", "orpheus kubectl rollout status deployment/app --timeout=60s"); !strings.Contains(out, "successfully") {
		t.Errorf("what README applied: %q", out)
	}
}

func says(out, want string) error {
	if !strings.Contains(out, want) {
		return fmt.Errorf("says %q, want %q", out, want)
	}
	return nil
}

// reader does on the hosts what README says.
type reader struct {
	t            *testing.T
	ctx          context.Context
	b            *bed.Bed
	binary, work string
}

const app = `apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "` + images.Busybox + `", command: [sleep, "3600"]}]
`

// prepare makes what README takes for granted: the programs on the path, and an application.
func (r reader) prepare() {
	r.t.Helper()
	kubectl := "#!/bin/sh\nexec " + r.binary + " kubectl \"$@\"\n" // where a user has one of his own; the clients' tests do
	for name, text := range map[string]string{"kubectl": kubectl, "app.yaml": app} {
		if err := os.WriteFile(filepath.Join(r.work, name), []byte(text), 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := os.Symlink(r.binary, filepath.Join(r.work, "orpheus")); err != nil {
		r.t.Fatal(err)
	}
}

// argv runs a line as a shell on the host does. Hosts of a lab share a file system, so that each has directories of its own.
func (r reader) argv(host, line string) []string {
	r.t.Helper()
	h, err := r.b.Host(host)
	if err != nil {
		r.t.Fatal(err)
	}
	dir, err := r.b.Path(host, "server")
	if err != nil {
		r.t.Fatal(err)
	}
	return []string{"env", "--chdir=" + r.work, "PATH=" + r.work + ":" + os.Getenv("PATH"), "HOME=" + dir + "/home",
		"ORPHEUS_DATA_DIR=" + dir, "ORPHEUS_RUN_DIR=" + dir + "/run", "ORPHEUS_DOCKER=unix://" + r.b.Socket(host),
		"ORPHEUS_NAME=" + host, "ORPHEUS_ADVERTISE=" + h.Addr.String(), "sh", "-c", line}
}

func (r reader) try(host, line string) (string, error) {
	var stderr strings.Builder
	cmd := r.b.CommandContext(r.ctx, host, r.argv(host, line)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s on %s: %w: %s%s", line, host, err, out, &stderr)
	}
	return string(out), nil
}

func (r reader) run(host, line string) string {
	r.t.Helper()
	out, err := r.try(host, line)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// daemon starts what README lets run in the foreground, and waits until it is ready.
func (r reader) daemon(host, line string) {
	r.t.Helper()
	if err := r.b.Start(host, "orpheus", r.argv(host, "exec "+line), ""); err != nil {
		r.t.Fatal(err)
	}
	err := mesh.Eventually(r.ctx, 60*time.Second, line+" on "+host, func() error {
		out, err := r.try(host, "orpheus status --json")
		return errors.Join(err, says(out, `"Ready":true`))
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

var hostOfReadme = regexp.MustCompile(`\bm([1-9])\b`)

// play does all that README's "How to play" proposes, on the lab that the story leaves; the last command takes it down.
func play(ctx context.Context, t *testing.T, b *bed.Bed) {
	h, err := b.Host("1")
	if err != nil {
		t.Fatal(err)
	}
	here := func(line string) string { // README speaks of the default lab
		line = strings.ReplaceAll(line, "bin/lab ", fmt.Sprintf("bin/lab --dir %s --prefix %s --net %d ", labDir, labPrefix, labNet))
		return strings.ReplaceAll(hostOfReadme.ReplaceAllString(line, labPrefix+"$1"), "10.201.0.11", h.Addr.String())
	}
	command := func(line string) string {
		t.Helper()
		t.Log(line)
		cmd := exec.CommandContext(ctx, "sh", "-c", here(line))
		cmd.Dir = "../../.."
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s%s", line, err, out, &stderr)
		}
		return string(out)
	}
	commands := readme(t, "How to play", "bin/lab")
	for _, line := range commands[:len(commands)-1] {
		out := command(line)
		if strings.Contains(line, "bin/lab load ") {
			var r load.Report
			if err := json.Unmarshal([]byte(out), &r); err != nil || r.Sent == 0 || r.Statuses[200] == 0 {
				t.Errorf("%s: nobody was served: %v: %s", line, err, out)
			}
		}
	}
	for _, line := range []string{"bin/lab split", "bin/lab merge", "bin/lab delay 20ms 2ms", "bin/lab delay 0"} {
		command(line) // README names them for a lab of regions
	}
	command(commands[len(commands)-1])
	if out := command("bin/lab status"); !strings.HasPrefix(out, "no lab stands") {
		t.Errorf("after %s: %s", commands[len(commands)-1], out)
	}
}

// needs skips where no lab can be raised, and returns the binary under test.
func needs(t *testing.T) (binary string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a lab of real hosts needs root")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("a lab of real hosts needs Docker Engine: run `make setup`")
	}
	return orpheus(t)
}

// raise brings up the one lab of these tests, which is taken down at the end.
func raise(ctx context.Context, t *testing.T, hosts int) *bed.Bed {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	b, err := bed.New(bed.Config{Dir: labDir, Prefix: labPrefix, Net: labNet, Hosts: hosts, Regions: 2, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Down(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, b)
		}
		if err := b.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	if err := b.Up(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}
