package faults

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"strings"
)

// secrets: their bytes are in no file of any host, and a new key reaches also a server that was away.
func secrets(l lab) {
	const plain = "orfeo-favola-in-musica-1607"
	l.apply("x1", fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: score}\nstringData: {title: %s}\n", plain))
	encoded := base64.StdEncoding.EncodeToString([]byte(plain))
	readable := func() {
		l.t.Helper()
		for _, h := range hosts {
			l.soon(h+" reads the secret", func() error {
				out, err := l.m.Kubectl(l.ctx, h, "get", "secret", "score", "-o", "jsonpath={.data.title}")
				if err == nil && out != encoded {
					err = fmt.Errorf("it reads %q", out)
				}
				return err
			})
		}
	}
	readable()
	l.apply("x1", reader)
	l.soon("a pod reads the secret", func() error {
		out, err := l.m.Kubectl(l.ctx, "x1", "exec", "reader", "--", "cat", "/score/title")
		if err == nil && strings.TrimSpace(out) != plain {
			err = fmt.Errorf("it reads %q", out)
		}
		return err
	})
	l.nowhere(plain, encoded, strings.TrimRight(encoded, "=")[:20])
	l.kubectl("x1", "delete", "pod", "reader")
	l.check(l.m.Stop(l.ctx, "x3"))
	if out := l.orpheus("x1", "secrets", "rotate"); !strings.Contains(out, "encrypted with the new key") || strings.HasPrefix(out, "0 ") {
		l.t.Errorf("rotate says %q", out)
	}
	l.apply("x2", "apiVersion: v1\nkind: Secret\nmetadata: {name: after}\nstringData: {title: since-the-rotation}\n")
	l.check(l.m.Up(l.ctx, "x3", ""))
	readable()
	for _, h := range hosts {
		if out := l.kubectl(h, "get", "secret", "after", "-o", "jsonpath={.data.title}"); out != base64.StdEncoding.EncodeToString([]byte("since-the-rotation")) {
			l.t.Errorf("%s reads %q of the secret made after the rotation", h, out)
		}
	}
	l.calm()
	l.nowhere(plain, encoded, "since-the-rotation")
	for _, h := range hosts { // and after a restart, from what is on disk
		l.check(l.m.Stop(l.ctx, h))
		l.check(l.m.Up(l.ctx, h, ""))
	}
	readable()
}

const reader = `
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  nodeName: x2
  terminationGracePeriodSeconds: 1
  volumes: [{name: score, secret: {secretName: score}}]
  containers: [{name: main, image: "busybox:1", command: [sleep, "100000"], volumeMounts: [{name: score, mountPath: /score}]}]
`

// nowhere searches every file of every host's data directory and of its engine's; memory-backed mounts are other file systems.
func (l lab) nowhere(words ...string) {
	l.t.Helper()
	for _, h := range hosts {
		for _, w := range words {
			out, _ := exec.CommandContext(l.ctx, "sh", "-c", `find "$1" "$2" -xdev -type f -exec grep -laF -e "$3" {} +`, "sh", l.path(h, "orpheus"), l.path(h, "data"), w).Output()
			if len(out) > 0 {
				l.t.Errorf("%q can be read on the disk of %s in %s", w, h, out)
			}
		}
		if out, err := exec.CommandContext(l.ctx, "sh", "-c", `find "$1" -xdev -type f -size +10k -name '*.db'`, "sh", l.path(h, "orpheus")).Output(); err != nil || len(out) == 0 {
			l.t.Fatalf("no database was searched on %s (%v)", h, err)
		}
	}
}
