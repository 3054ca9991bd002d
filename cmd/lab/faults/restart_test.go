package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
)

// restarted is what runs while a daemon is restarted: a site on every host behind an ingress, which also has a page that takes
// longer to answer than peers excuse a silent server, and an echo on x1 and on x2. ReplicaSets replace what they take for lost.
const restarted = `
apiVersion: v1
kind: ConfigMap
metadata: {name: restart}
data:
  index.html: "here\n"
  slow: "#!/bin/sh\nsleep 18\nprintf 'Content-Type: text/plain\\r\\n\\r\\ndone'\n"
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: restart-web}
spec:
  replicas: 3
  selector: {matchLabels: {app: restart-web}}
  template:
    metadata: {labels: {app: restart-web, case: restart}}
    spec:
      terminationGracePeriodSeconds: 1
      affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [
        {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: restart-web}}}]}}
      containers:
        - {name: main, image: "busybox:1", command: [httpd, -f, -p, "8080", -h, /www],
           readinessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1, timeoutSeconds: 5},
           volumeMounts: [{name: page, mountPath: /www}, {name: script, mountPath: /www/cgi-bin}]}
      volumes:
        - {name: page, configMap: {name: restart, items: [{key: index.html, path: index.html}]}}
        - {name: script, configMap: {name: restart, defaultMode: 0755, items: [{key: slow, path: slow}]}}
---
apiVersion: v1
kind: Service
metadata: {name: restart-web}
spec: {selector: {app: restart-web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: restart-web}
spec: {rules: [{host: restart.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: restart-web, port: {number: 80}}}}]}}]}
`

// echoOn is an echo on a host, as a format.
const echoOn = `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: restart-echo-%[1]s}
spec:
  selector: {matchLabels: {app: restart-echo-%[1]s}}
  template:
    metadata: {labels: {app: restart-echo-%[1]s, case: restart}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {kubernetes.io/hostname: %[1]s}
      containers: [{name: main, image: "busybox:1", command: [nc, -ll, -p, "7007", -e, cat], readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}}]
---
apiVersion: v1
kind: Service
metadata: {name: restart-echo-%[1]s}
spec: {selector: {app: restart-echo-%[1]s}, ports: [{port: 7007}]}
`

// restart: a daemon that stops in order or is killed, and is started again, restarts no container, moves no pod, breaks no
// connection and costs no request that comes in by other hosts. What runs through its own ingress may end first, even if that
// takes longer than the others excuse silence.
func restart(l lab) {
	l.apply("x1", restarted+fmt.Sprintf(echoOn, "x1")+fmt.Sprintf(echoOn, "x2"))
	for _, d := range []string{"restart-web", "restart-echo-x1", "restart-echo-x2"} {
		l.kubectl("x1", "rollout", "status", "deployment/"+d, "--timeout=60s")
	}
	before := l.everything()
	moved := l.watchPods()
	toward, away := l.converse("x1", "restart-echo-x2"), l.converse("x2", "restart-echo-x1")
	report := l.loaded("http://restart.test/", []string{"x1", "x3"}, func() {
		for range 3 {
			l.check(l.m.Stop(l.ctx, "x2"))
			l.check(l.m.Up(l.ctx, "x2", ""))
			toward.ping()
			away.ping()
		}
		slow := l.slowly("x2")
		l.check(l.m.Stop(l.ctx, "x2"))
		l.check(<-slow)
		l.check(l.m.Up(l.ctx, "x2", ""))
		for range 2 {
			l.check(l.m.Bed.Kill("x2", "orpheus", unix.SIGKILL))
			l.soon("the daemon is dead", func() error {
				if _, runs := l.m.PID("x2"); runs {
					return errors.New("it runs")
				}
				return nil
			})
			l.check(l.m.Up(l.ctx, "x2", ""))
			toward.ping()
			away.ping()
		}
	})
	l.calm()
	toward.ping()
	away.ping()
	for _, what := range moved() {
		l.t.Errorf("meanwhile pod %s", what)
	}
	if after := l.everything(); after != before {
		l.t.Errorf("pods or containers changed:\n%s\nthen\n%s", before, after)
	}
	if report.Failed > 0 || report.Sent == 0 {
		l.t.Errorf("%d of %d requests through x1 and x3 failed: %v, first %v", report.Failed, report.Sent, report.Reasons, report.Failures[:min(3, len(report.Failures))])
	}
	l.kubectl("x1", "delete", "deployment/restart-web", "deployment/restart-echo-x1", "deployment/restart-echo-x2", "service/restart-web",
		"service/restart-echo-x1", "service/restart-echo-x2", "ingress/restart-web", "configmap/restart")
	l.soon("the pods of this case are gone", func() error {
		out, err := l.m.Kubectl(l.ctx, "x1", "get", "pods", "-l", "case=restart", "-o", "name")
		if err == nil && out != "" {
			err = errors.New(out)
		}
		return err
	})
}

// everything is what runs on the three hosts: pods with UIDs and restart counts, containers with IDs and starts.
func (l lab) everything() string {
	l.t.Helper()
	lines := strings.Fields(l.kubectl("x1", "get", "pods", "-l", "case=restart", "-o",
		"jsonpath={range .items[*]}{.metadata.name}={.metadata.uid}={.spec.nodeName}={.status.containerStatuses[0].restartCount} {end}"))
	for _, h := range hosts {
		ids, err := l.docker(h, "ps", "-aq", "--no-trunc")
		l.check(err)
		out, err := l.docker(h, append([]string{"inspect", "-f", "{{.Name}}={{.Id}}={{.State.Pid}}={{.State.StartedAt}}={{.RestartCount}}"}, strings.Fields(ids)...)...)
		l.check(err)
		lines = append(lines, strings.Fields(out)...)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// watchPods notes the pods of this case that come or go from now on. A replacement that went again would show nowhere else.
func (l lab) watchPods() (end func() []string) {
	l.t.Helper()
	client, err := l.m.Client(l.ctx, "x1")
	l.check(err)
	mine := metav1.ListOptions{LabelSelector: "case=restart"}
	there, err := client.CoreV1().Pods("default").List(l.ctx, mine)
	l.check(err)
	mine.ResourceVersion = there.ResourceVersion
	w, err := client.CoreV1().Pods("default").Watch(l.ctx, mine)
	l.check(err)
	seen := make(chan []string, 1)
	var stopped atomic.Bool // what is read then may break off
	go func() {
		var changes []string
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			switch {
			case !ok && stopped.Load():
			case !ok:
				changes = append(changes, fmt.Sprintf("(the watch broke: %v)", e.Object))
			case e.Type == watch.Added, e.Type == watch.Deleted:
				changes = append(changes, fmt.Sprintf("%s on %q was %s at %s", p.Name, p.Spec.NodeName, strings.ToLower(string(e.Type)), time.Now().Format(time.TimeOnly)))
			case p.DeletionTimestamp != nil:
				changes = append(changes, p.Name+" is being deleted")
			}
		}
		seen <- changes
	}()
	return func() []string {
		stopped.Store(true)
		w.Stop()
		return <-seen
	}
}

// loaded asks a site through some hosts while act runs.
func (l lab) loaded(url string, through []string, act func()) load.Report {
	l.t.Helper()
	dial, err := l.m.Outside()
	l.check(err)
	cfg := load.Config{URL: url, Rate: 50, Duration: 5 * time.Minute, Timeout: 10 * time.Second, Dial: dial}
	for _, name := range through {
		h, err := l.m.Bed.Host(name)
		l.check(err)
		cfg.Targets = append(cfg.Targets, h.Addr)
	}
	ctx, stop := context.WithCancel(l.ctx)
	defer stop()
	done := make(chan load.Report, 1)
	go func() {
		r, err := load.Run(ctx, cfg)
		if err != nil {
			l.t.Error(err)
		}
		done <- r
	}()
	act()
	stop()
	return <-done
}

// slowly asks a host's ingress for the page that takes its time, and returns when the request is under way.
func (l lab) slowly(host string) <-chan error {
	l.t.Helper()
	h, err := l.m.Bed.Host(host)
	l.check(err)
	dial, err := l.m.Outside()
	l.check(err)
	var conn net.Conn
	l.soon(host+" listens", func() (err error) { // a ready daemon may not know its ingresses yet
		conn, err = dial(l.ctx, "tcp", net.JoinHostPort(h.Addr.String(), "80"))
		return err
	})
	l.check(conn.SetDeadline(time.Now().Add(patience)))
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, "http://restart.test/cgi-bin/slow", nil)
	l.check(err)
	l.check(req.Write(conn))
	l.soon("the slow page is asked for", l.asked)
	answer := make(chan error, 1)
	go func() {
		defer conn.Close()
		res, err := http.ReadResponse(bufio.NewReader(conn), req)
		if err != nil {
			answer <- fmt.Errorf("a request that ran when its daemon was told to stop: %w", err)
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(io.LimitReader(res.Body, 512))
		if err == nil && string(body) != "done" {
			err = fmt.Errorf("a request that ran when its daemon was told to stop: %s: %s", res.Status, body)
		}
		answer <- err
	}()
	return answer
}

// asked tells whether the slow page's script runs on any host.
func (l lab) asked() error {
	for _, h := range hosts {
		id, err := l.docker(h, "ps", "-q", "--filter", "name=orpheus_main_restart-web")
		if err != nil {
			return err
		}
		if out, err := l.docker(h, "top", id); err != nil || strings.Contains(out, "sleep 18") {
			return err
		}
	}
	return errors.New("its script does not run")
}
