package faults

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// talk is a connection that stays open, with something that says what it hears.
type talk struct {
	l       lab
	to      string
	said    int
	mouth   io.Writer
	ear     interface{ SetReadDeadline(time.Time) error }
	answers *bufio.Reader
	close   func() // nil: it stays until the test ends
}

// converse connects from the steady pod's network on a host.
func (l lab) converse(from, service string) *talk {
	l.t.Helper()
	id, err := l.docker(from, "ps", "-q", "--filter", "name=orpheus_main_steady")
	l.check(err)
	pid, err := l.docker(from, "inspect", "-f", "{{.State.Pid}}", id)
	l.check(err)
	ip := l.kubectl("x1", "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
	cmd := exec.CommandContext(l.ctx, "nsenter", "--target", pid, "--net", "busybox", "nc", ip, "7007")
	mouth, err := cmd.StdinPipe()
	l.check(err)
	ear, theirs, err := os.Pipe()
	l.check(err)
	cmd.Stdout = theirs
	l.check(cmd.Start())
	theirs.Close()
	l.t.Cleanup(func() {
		_ = mouth.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		ear.Close()
	})
	t := &talk{l: l, to: service, mouth: mouth, ear: ear, answers: bufio.NewReader(ear)}
	t.ping()
	return t
}

// ping says something new and waits for the echo.
func (t *talk) ping() {
	t.l.t.Helper()
	t.said++
	want := fmt.Sprintf("this is %d\n", t.said)
	_, err := io.WriteString(t.mouth, want)
	t.l.check(err)
	t.l.check(t.ear.SetReadDeadline(time.Now().Add(patience)))
	got, err := t.answers.ReadString('\n')
	if err != nil || got != want {
		t.l.t.Fatalf("the connection to %s: said %q, heard %q (%v)", t.to, want, got, err)
	}
}
