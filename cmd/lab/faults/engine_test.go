package faults

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// engine: a dead engine takes its node out of work, with the reason; what runs lives on, and nothing is restarted when it is back.
func engine(l lab) {
	before, restarts := l.processes("x2"), l.restarts()
	l.check(l.m.Bed.KillEngine(l.ctx, "x2"))
	l.soon("node x2 is NotReady, with the reason", func() error {
		out, err := l.m.Kubectl(l.ctx, "x1", "get", "node", "x2", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")]}`)
		if err != nil {
			return err
		}
		return contains(out, `"status":"False"`, "docker.sock")
	})
	l.says("x2", "! container engine", "-> start Docker Engine")
	for line := range strings.Lines(before) {
		if pid := strings.Fields(line)[1]; !alive(pid) {
			l.t.Errorf("process %s of a container died with its engine", pid)
		}
	}
	l.check(l.m.Bed.Boot(l.ctx, "x2"))
	l.calm()
	if after := l.processes("x2"); after != before {
		l.t.Errorf("containers changed:\n%s\nthen\n%s", before, after)
	}
	if now := l.restarts(); now != restarts {
		l.t.Errorf("pods changed: %s, then %s", restarts, now)
	}
}

// daemon: a daemon that is killed leaves its containers alone and finds them again.
func daemon(l lab) {
	before, restarts := l.processes("x2"), l.restarts()
	for i := range 3 {
		l.kubectl("x2", "create", "configmap", fmt.Sprintf("before-kill-%d", i))
		l.check(l.m.Bed.Kill("x2", "orpheus", unix.SIGKILL))
		l.soon("the daemon is dead", func() error {
			if _, runs := l.m.PID("x2"); runs {
				return fmt.Errorf("it runs")
			}
			return nil
		})
		l.check(l.m.Up(l.ctx, "x2", ""))
		l.kubectl("x2", "get", "configmap", fmt.Sprintf("before-kill-%d", i))
	}
	l.calm()
	if after := l.processes("x2"); after != before {
		l.t.Errorf("containers changed:\n%s\nthen\n%s", before, after)
	}
	if now := l.restarts(); now != restarts {
		l.t.Errorf("pods changed: %s, then %s", restarts, now)
	}
}

func alive(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

// restarts are the pods with their UIDs and restart counts.
func (l lab) restarts() string {
	l.t.Helper()
	return l.kubectl("x1", "get", "pods", "-l", "app=steady", "-o", "jsonpath={range .items[*]}{.metadata.uid}={.status.containerStatuses[0].restartCount} {end}")
}
