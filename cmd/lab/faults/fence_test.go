package faults

import (
	"errors"
	"fmt"
	"strings"
)

const pinned = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: NAME}
spec:
  serviceName: NAME
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:1
        command: [sh, -c, "exec sleep 100000"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: local, resources: {requests: {storage: 1Mi}}}
`

// fence: a pinned pod of a server that lost power is replaced on a person's word only, and never runs twice.
func fence(l lab) {
	l.fenced("orfeo", func() { l.check(l.m.Bed.Poweroff(l.ctx, "x3")) }, func() {
		l.check(l.m.Bed.Boot(l.ctx, "x3"))
		l.check(l.m.Up(l.ctx, "x3", ""))
	})
}

// fenceIsolated: the same when the server lives on but nobody can see it.
func fenceIsolated(l lab) {
	l.fenced("euridice", func() { l.check(l.m.Bed.Isolate("x3")) }, func() { l.check(l.m.Bed.Join("x3")) })
}

func (l lab) fenced(name string, vanish, comeBack func()) {
	if _, err := l.m.Orpheus(l.ctx, "x1", nil, "fence", "x3"); err == nil {
		l.t.Error("a living server was fenced")
	} else if err := contains(err.Error(), "in sight", "drain"); err != nil {
		l.t.Error(err)
	}
	if _, err := l.m.Orpheus(l.ctx, "x1", nil, "fence", "x9"); err == nil {
		l.t.Error("a server that does not exist was fenced")
	} else if err := contains(err.Error(), "x9", "no server"); err != nil {
		l.t.Error(err)
	}
	pod := name + "-0"
	l.kubectl("x1", "cordon", "x1", "x2")
	l.apply("x1", strings.ReplaceAll(pinned, "NAME", name))
	l.podRuns("x1", pod, "x3")
	l.kubectl("x1", "uncordon", "x1", "x2")
	l.kubectl("x1", "exec", pod, "--", "sh", "-c", "echo old >/data/kept")
	first := l.uid("x1", pod)

	vanish()
	l.sees("x1", 2)
	l.says("x1", "! server x3: failed", "orpheus fence x3")
	l.says("x2", "! server x3: failed", "orpheus fence x3")
	if now := l.uid("x1", pod); now != first {
		l.t.Errorf("pod %s was replaced by %s, nobody fenced", first, now)
	}
	out := l.orpheus("x1", "fence", "x3")
	if err := contains(out, "x3", "fenced"); err != nil {
		l.t.Error(err)
	}
	l.soon("the pod runs anew elsewhere", func() error {
		host, uid, err := l.runs("x1", pod)
		if err == nil && (uid == first || host == "x3") {
			err = errors.New("it is the old one")
		}
		return err
	})
	if out := l.kubectl("x1", "exec", pod, "--", "ls", "-A", "/data"); out != "" {
		l.t.Errorf("the new volume holds %q", out)
	}
	second := l.uid("x1", pod)
	l.says("x1", "x3", "orpheus fence --lift x3")

	comeBack()
	l.sees("x1", 3)
	l.soon("exactly one container of it runs", func() error { return l.oneRuns(name) })
	if now := l.uid("x3", pod); now != second {
		l.t.Errorf("pod %s was replaced by %s when the server came back", second, now)
	}
	out = l.orpheus("x1", "fence", "--lift", "x3")
	if err := contains(out, "no longer fenced"); err != nil {
		l.t.Error(err)
	}
	l.calm()
	l.check(l.oneRuns(name))
	l.kubectl("x1", "delete", "statefulset", name, "--wait=true")
}

// runs tells where a pod is Running and ready.
func (l lab) runs(at, pod string) (host, uid string, err error) {
	out, err := l.m.Kubectl(l.ctx, at, "get", "pod", pod, "-o", "jsonpath={.spec.nodeName} {.metadata.uid} {.status.phase} {.status.containerStatuses[0].ready} d{.metadata.deletionTimestamp}")
	if err != nil {
		return "", "", err
	}
	f := strings.Fields(out)
	if len(f) != 5 || f[2] != "Running" || f[3] != "true" || f[4] != "d" {
		return "", "", fmt.Errorf("pod %s: %s", pod, out)
	}
	return f[0], f[1], nil
}

func (l lab) podRuns(at, pod, want string) {
	l.t.Helper()
	l.soon(pod+" runs on "+want, func() error {
		host, _, err := l.runs(at, pod)
		if err == nil && host != want {
			err = errors.New("it runs on " + host)
		}
		return err
	})
}

func (l lab) uid(at, pod string) string {
	l.t.Helper()
	return l.kubectl(at, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
}

// oneRuns asks every engine for the containers of a set's pod.
func (l lab) oneRuns(name string) error {
	var found []string
	for _, h := range hosts {
		out, err := l.docker(h, "ps", "--format", h+" {{.Names}}")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, name+"-0") && strings.Contains(line, "main") {
				found = append(found, strings.TrimSpace(line))
			}
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("%d containers of it run: %q", len(found), found)
	}
	return nil
}
