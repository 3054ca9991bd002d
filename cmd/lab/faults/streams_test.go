package faults

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// teller counts in its log, and echoes.
const teller = `
apiVersion: v1
kind: Pod
metadata: {name: teller}
spec:
  nodeSelector: {kubernetes.io/hostname: x2}
  terminationGracePeriodSeconds: 1
  containers:
    - {name: count, image: "busybox:1", command: [sh, -c, "i=0; while echo $i; do i=$((i+1)); usleep 50000; done"]}
    - {name: echo, image: "busybox:1", command: [nc, -ll, -p, "7008", -e, cat]}
`

// streams: logs that are followed, exec and port-forward run on while the daemon that they go through, or that has the pod, gives way to its
// next image, and to the next after that.
func streams(l lab) {
	l.apply("x1", teller)
	l.kubectl("x1", "wait", "--for=condition=Ready", "pod/teller", "--timeout=60s")
	talks, counts := map[string]*talk{}, map[string]*count{}
	for _, via := range []string{"x1", "x2"} { // from another host, and on the pod's own
		talks["exec through "+via] = l.shell(via)
		talks["port-forward through "+via] = l.forward(via)
		counts["logs through "+via] = l.follow(via)
	}
	restarts := l.processes("x2")
	for _, host := range []string{"x2", "x2", "x1"} {
		l.orpheus(host, "restart")
		for _, t := range talks {
			t.ping()
		}
		for what, c := range counts {
			c.on(what)
		}
	}
	l.calm()
	if now := l.processes("x2"); now != restarts {
		l.t.Errorf("containers of x2 were %s, are %s", restarts, now)
	}
	for _, t := range talks {
		t.close()
	}
	for _, c := range counts {
		c.end()
	}
	for _, host := range []string{"x1", "x2"} {
		face, _ := l.m.PID(host)
		l.soon("no earlier process is left on "+host, func() error {
			if left := l.children(face); len(left) > 1 {
				return fmt.Errorf("%v follow %d", left, face)
			}
			return nil
		})
	}
	l.kubectl("x1", "delete", "pod/teller")
}

// begun is a kubectl that runs on a host until end is called, with what it prints.
func (l lab) begun(host string, args ...string) (cmd *exec.Cmd, out *os.File, end func()) {
	l.t.Helper()
	cmd, err := l.m.Command(l.ctx, host, append([]string{"kubectl"}, args...)...)
	l.check(err)
	out, theirs, err := os.Pipe()
	l.check(err)
	cmd.Stdout, cmd.Stderr = theirs, l.t.Output()
	end = func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		}
		out.Close()
	}
	l.t.Cleanup(end)
	l.t.Cleanup(func() { theirs.Close() })
	return cmd, out, end
}

// shell is a conversation with a process in the teller's container.
func (l lab) shell(via string) *talk {
	l.t.Helper()
	cmd, out, end := l.begun(via, "exec", "-i", "teller", "-c", "echo", "--", "cat")
	in, err := cmd.StdinPipe()
	l.check(err)
	l.check(cmd.Start())
	t := &talk{l: l, to: "exec through " + via, mouth: in, ear: out, answers: bufio.NewReader(out), close: end}
	t.ping()
	return t
}

// forward is one with the teller's port.
func (l lab) forward(via string) *talk {
	l.t.Helper()
	cmd, out, end := l.begun(via, "port-forward", "pod/teller", ":7008")
	l.check(cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n') // Forwarding from 127.0.0.1:34567 -> 7008
	l.check(err)
	_, port, _ := strings.Cut(strings.Fields(line)[2], ":")
	conn, err := l.m.Bed.Dial(l.ctx, via, "tcp", net.JoinHostPort("127.0.0.1", port))
	l.check(err)
	t := &talk{l: l, to: "port-forward through " + via, mouth: conn, ear: conn, answers: bufio.NewReader(conn), close: func() { conn.Close(); end() }}
	t.ping()
	return t
}

// count is a log that is followed: numbers, none left out.
type count struct {
	l     lab
	lines chan int
	over  chan error
	end   func()
}

func (l lab) follow(via string) *count {
	l.t.Helper()
	cmd, out, end := l.begun(via, "logs", "-f", "--tail=1", "teller", "-c", "count")
	l.check(cmd.Start())
	c := &count{l: l, lines: make(chan int), over: make(chan error, 1), end: end}
	go func() {
		in := bufio.NewScanner(out)
		in.Scan()
		n, err := strconv.Atoi(in.Text())
		for ; err == nil && in.Text() == strconv.Itoa(n); n++ {
			select {
			case c.lines <- n:
			default: // nobody waits for it
			}
			in.Scan()
		}
		c.over <- fmt.Errorf("the log broke off before %d: %q, %w", n, in.Text(), in.Err())
	}()
	c.on("logs through " + via)
	return c
}

// on waits for more of it.
func (c *count) on(what string) {
	c.l.t.Helper()
	for range 3 { // one may have been on its way
		select {
		case <-c.lines:
		case err := <-c.over:
			c.l.t.Fatalf("%s: %v", what, err)
		case <-time.After(patience):
			c.l.t.Fatal(what + " stands still")
		}
	}
}
