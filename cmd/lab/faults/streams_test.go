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

// teller counts in its log, and echoes; its page is written on.
const teller = `
apiVersion: v1
kind: ConfigMap
metadata: {name: teller}
data: {page: "0"}
---
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

// streams: logs that are followed, exec, port-forward and watches run on while the daemon that they go through, or that has the pod, gives way to its
// next image, and to the next after that.
func streams(l lab) {
	l.apply("x1", teller)
	l.kubectl("x1", "wait", "--for=condition=Ready", "pod/teller", "--timeout=60s")
	talks, counts, sights := map[string]*talk{}, map[string]*count{}, map[string]*sight{}
	for _, via := range []string{"x1", "x2"} { // from another host, and on the pod's own
		talks["exec through "+via] = l.shell(via)
		talks["port-forward through "+via] = l.forward(via)
		counts["logs through "+via] = l.follow(via)
		sights["watch through "+via] = l.watch(via)
	}
	restarts := l.processes("x2")
	for page, host := range []string{"x2", "x2", "x1"} {
		l.orpheus(host, "restart")
		l.kubectl("x3", "patch", "configmap/teller", "-p", fmt.Sprintf(`{"data":{"page":"%d"}}`, page+1))
		for what, s := range sights {
			s.comesTo(what, page+1)
		}
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
	for _, s := range sights {
		s.end()
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
	l.kubectl("x1", "delete", "pod/teller", "configmap/teller")
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

// sight is a watch of the teller's page.
type sight struct {
	l     lab
	pages *bufio.Reader
	out   *os.File
	end   func()
}

func (l lab) watch(via string) *sight {
	l.t.Helper()
	cmd, out, end := l.begun(via, "get", "configmap/teller", "-w", "-o", `jsonpath={.data.page}{"\n"}`)
	l.check(cmd.Start())
	s := &sight{l, bufio.NewReader(out), out, end}
	s.comesTo("watch through "+via, 0)
	return s
}

// comesTo waits until that page is seen; pages may come more than once, in order.
func (s *sight) comesTo(what string, page int) {
	s.l.t.Helper()
	s.l.check(s.out.SetReadDeadline(time.Now().Add(patience)))
	for seen, was := -1, page-1; seen != page; was = seen {
		line, err := s.pages.ReadString('\n')
		if err != nil {
			s.l.t.Fatalf("%s: page %d was not seen: %v", what, page, err)
		}
		if seen, err = strconv.Atoi(strings.TrimSpace(line)); err != nil || seen < was || seen > page {
			s.l.t.Fatalf("%s: %q was seen after page %d", what, line, was)
		}
	}
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
