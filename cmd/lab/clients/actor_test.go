package clients

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// scene is one thing that people do with a client.
type scene struct {
	name string
	play func(a *actor)
}

// actor types the lines of one scene, in a directory of its own.
type actor struct {
	*client
	t   *testing.T
	ctx context.Context
	dir string
}

const (
	lineLimit = 60 * time.Second
	slowLine  = 5 * time.Second // a line that takes longer is told
	soonLimit = 45 * time.Second
)

// command is a shell line at the client's host; it dies with all that it started.
func (a *actor) command(ctx context.Context, line string) *exec.Cmd {
	cmd := a.mesh.Bed.CommandContext(ctx, a.at, "sh", "-c", line)
	cmd.Dir, cmd.Env = a.dir, a.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// run types a line and returns all that it says, and its exit status.
func (a *actor) run(line string) (string, int) {
	a.t.Helper()
	ctx, cancel := context.WithTimeoutCause(a.ctx, lineLimit, errors.New("it did not end in "+lineLimit.String()))
	defer cancel()
	begun := time.Now()
	out, err := a.command(ctx, line).CombinedOutput()
	if took := time.Since(begun); took > slowLine {
		a.t.Logf("%5.1f s: $ %s", took.Seconds(), line)
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return string(out) + "\n[killed: " + context.Cause(ctx).Error() + "]", -1
	case err == nil:
		return string(out), 0
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	}
	a.t.Fatalf("$ %s\n%v", line, err)
	return "", -1
}

// missing is the first of the expressions that the text does not match; one that begins with ! must not match.
func missing(text string, want []string) string {
	for _, w := range want {
		rx, not := strings.CutPrefix(w, "!")
		if regexp.MustCompile(`(?m)`+rx).MatchString(text) == not {
			return w
		}
	}
	return ""
}

// ok types a line that must succeed and match.
func (a *actor) ok(line string, want ...string) string {
	a.t.Helper()
	return a.code(0, line, want...)
}

// code types a line that must end with that status and match.
func (a *actor) code(status int, line string, want ...string) string {
	a.t.Helper()
	out, got := a.run(line)
	if got != status {
		a.t.Fatalf("$ %s\nexit status %d, want %d:\n%s", line, got, status, clip(out))
	}
	if w := missing(out, want); w != "" {
		a.t.Fatalf("$ %s\nwant %q in:\n%s", line, w, clip(out))
	}
	return out
}

// no types a line that must be refused with a message that matches.
func (a *actor) no(line string, want ...string) string {
	a.t.Helper()
	out, got := a.run(line)
	if got == 0 || got == -1 {
		a.t.Fatalf("$ %s\nexit status %d, want a refusal:\n%s", line, got, clip(out))
	}
	if w := missing(out, want); w != "" {
		a.t.Fatalf("$ %s\nwant %q in:\n%s", line, w, clip(out))
	}
	return out
}

// soon types a line again and again until it succeeds and matches.
func (a *actor) soon(line string, want ...string) string {
	a.t.Helper()
	var out string
	var status int
	var lacking string
	err := mesh.Eventually(a.ctx, soonLimit, line, func() error {
		out, status = a.run(line)
		if lacking = missing(out, want); status != 0 || lacking != "" {
			return errors.New("not so")
		}
		return nil
	})
	if err != nil {
		a.t.Fatalf("$ %s\nnot within %s: exit status %d, want %q in:\n%s", line, soonLimit, status, lacking, clip(out))
	}
	return out
}

// file writes a file for the scene's lines, with $AT, $FAR, $THIRD and $NS filled in.
func (a *actor) file(name, text string) {
	a.t.Helper()
	text = strings.NewReplacer("$AT", a.at, "$FAR", a.far, "$THIRD", a.third, "$NS", a.namespace()).Replace(text)
	check(a.t, os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644))
}

// apply writes a manifest and applies it.
func (a *actor) apply(name, text string) {
	a.t.Helper()
	a.file(name+".yaml", text)
	a.ok("kubectl apply -f " + name + ".yaml")
}

func clip(s string) string {
	const most = 3000
	if len(s) > most {
		return s[:most] + "\n…"
	}
	return s
}
