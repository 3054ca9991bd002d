package faults

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// rejoin: a server whose data directory was deleted comes back under its name as a new member; there is one node of that name.
func rejoin(l lab) {
	l.check(l.m.Stop(l.ctx, "x3"))
	l.check(erase(l.path("x3", "orpheus")))
	l.says("x1", "! server x3: failed") // until then its name is a living server's
	l.check(l.join(l.ctx, "x3"))
	l.calm()
	l.soon("every steady container that runs belongs to a pod", func() error { return l.eachContainerHasItsPod("x3") })
	l.apply("x1", fmt.Sprintf(onHost, "x3"))
	l.podRuns("x2", "visitor", "x3")
	if out := l.kubectl("x1", "exec", "visitor", "--", "echo", "reached"); out != "reached" {
		l.t.Errorf("exec says %q", out)
	}
	if out := l.kubectl("x1", "get", "nodes", "-o", "name"); out != "node/x1\nnode/x2\nnode/x3" {
		l.t.Errorf("nodes are %q", out)
	}
	for _, h := range hosts {
		living := 0
		for line := range strings.Lines(l.orpheus(h, "members")) {
			if f := strings.Fields(line); f[0] == "x3" && strings.Contains(line, " alive ") {
				living++
			}
		}
		if living != 1 && h != "x3" {
			l.t.Errorf("%s sees %d living members called x3", h, living)
		}
		if s := l.status(h); strings.Contains(s, "server x3: failed") || strings.Contains(s, "server x3: left") {
			l.t.Errorf("%s still misses the former x3:\n%s", h, s)
		}
	}
	l.kubectl("x1", "delete", "pod", "visitor")
}

// erase removes a directory with what is mounted below it; who holds a mount keeps it.
func erase(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], dir+"/") {
			if err := unix.Unmount(f[1], unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", f[1], err)
			}
		}
	}
	return os.RemoveAll(dir)
}

const onHost = `
apiVersion: v1
kind: Pod
metadata: {name: visitor}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "busybox:1", command: [sleep, "100000"]}]
`

// eachContainerHasItsPod compares what an engine runs with what the API knows.
func (l lab) eachContainerHasItsPod(host string) error {
	uids, err := l.m.Kubectl(l.ctx, "x1", "get", "pods", "-A", "--field-selector", "spec.nodeName="+host, "-o", "jsonpath={.items[*].metadata.uid}")
	if err != nil {
		return err
	}
	out, err := l.docker(host, "ps", "--format", `{{.Names}} {{.Label "orpheus.dev/pod-uid"}}`)
	if err != nil {
		return err
	}
	found := map[string]bool{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.Contains(uids, f[1]) {
			return errors.New("nobody knows container " + line)
		}
		found[f[1]] = true
	}
	if want := len(strings.Fields(uids)); len(found) != want {
		return fmt.Errorf("%d pods have containers, the API knows %d", len(found), want)
	}
	return nil
}
