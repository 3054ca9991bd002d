package clients

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

// client is a person at a host with a kubectl (and maybe Helm), whose pods run on other hosts.
type client struct {
	label string
	at    string   // the host where the commands are typed, and whose API they speak to
	far   string   // the host where fixtures run
	third string   // neither
	argv  []string // what "kubectl" is
	helm  string   // what "helm" is; empty: nothing

	mesh *mesh.Mesh
	home string // HOME, with bin/ first in PATH
	addr string // address of the host at
	env  []string
}

// namespace is the client's own.
func (c *client) namespace() string { return "of-" + c.label }

// seat gives the client its programs, its kubeconfig as printed by the host's daemon, its namespace, and pods to ask about.
func (c *client) seat(ctx context.Context, t *testing.T, m *mesh.Mesh) {
	t.Helper()
	c.mesh = m
	h, err := m.Bed.Host(c.at)
	check(t, err)
	c.addr = h.Addr.String()
	c.home, err = m.Bed.Path(c.at, "home-"+c.label)
	check(t, err)
	bin := filepath.Join(c.home, "bin")
	check(t, os.MkdirAll(bin, 0o755))
	check(t, wrap(filepath.Join(bin, "kubectl"), c.argv))
	check(t, wrap(filepath.Join(bin, "orpheus"), []string{m.Binary}))
	if c.helm != "" {
		check(t, wrap(filepath.Join(bin, "helm"), []string{c.helm}))
	}
	kubeconfig, err := m.Orpheus(ctx, c.at, nil, "kubeconfig")
	check(t, err)
	path := filepath.Join(c.home, "kubeconfig")
	check(t, os.WriteFile(path, kubeconfig, 0o600))
	run, err := m.Bed.Path(c.at, "orpheus-run")
	check(t, err)
	c.env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + c.home, "KUBECONFIG=" + path, "ORPHEUS_RUN_DIR=" + run, "TERM=xterm", "LC_ALL=C.UTF-8",
		"NS=" + c.namespace(), "AT=" + c.at, "FAR=" + c.far, "THIRD=" + c.third, "ADDR=" + c.addr}
	a := &actor{client: c, t: t, ctx: ctx, dir: t.TempDir()}
	a.soon("kubectl get nodes", `c1 +Ready`, `c2 +Ready`, `c3 +Ready`)
	a.ok("kubectl create namespace $NS", "namespace/"+c.namespace()+" created")
	a.ok("kubectl config set-context --current --namespace=$NS")
	a.soon("kubectl get serviceaccount default")
	a.apply("fixtures", fixtures)
	if c.helm == "" {
		a.ok("kubectl wait --for=condition=Ready pod/talker --timeout=60s", "pod/talker condition met")
	}
}

func wrap(path string, argv []string) error {
	script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", strings.Join(argv, " "))
	return os.WriteFile(path, []byte(script), 0o755)
}

// fixtures are what most scenes look at: a pod that talks, listens and is asked, and one that dies every now and then.
const fixtures = `
apiVersion: v1
kind: Pod
metadata: {name: talker, labels: {app: talker}}
spec:
  nodeSelector: {kubernetes.io/hostname: $FAR}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:1
    command: [sh, -c]
    args:
    - |
      mkdir -p /www; echo "page of talker" >/www/index.html
      head -c 3000000 /dev/urandom >/www/large; httpd -p 8080 -h /www
      echo "first line"; echo "to stderr" >&2
      n=0; while true; do n=$((n+1)); echo "tick $n"; sleep 1; done
    ports: [{name: http, containerPort: 8080}]
    resources: {requests: {cpu: 10m, memory: 16Mi}}
  - name: side
    image: busybox:1
    command: [sh, -c, "echo aside; exec sleep 100000"]
---
apiVersion: v1
kind: Pod
metadata: {name: dier, labels: {app: dier}}
spec:
  nodeSelector: {kubernetes.io/hostname: $FAR}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:1
    command: [sh, -c, "echo a life began; sleep 1; echo it ends; exit 3"]
---
apiVersion: v1
kind: Service
metadata: {name: talker}
spec:
  selector: {app: talker}
  ports: [{name: http, port: 80, targetPort: http}]
`
