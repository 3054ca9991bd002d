package faults

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// lingering is a site with a page without end, and an echo that begins as an upgrade of HTTP.
const lingering = `
apiVersion: v1
kind: ConfigMap
metadata: {name: linger}
data:
  index.html: "here\n"
  flow: |
    #!/bin/sh
    printf 'Content-Type: text/plain\r\n\r\n'
    i=0; while echo $i; do i=$((i+1)); usleep 20000; done
  echo: |
    #!/bin/sh
    while read -r line && [ ${#line} -gt 1 ]; do :; done
    printf 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'
    exec cat
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: linger}
spec:
  replicas: 2
  selector: {matchLabels: {app: linger}}
  template:
    metadata: {labels: {app: linger}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - {name: main, image: "busybox:1", command: [httpd, -f, -p, "8080", -h, /www],
           readinessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1, timeoutSeconds: 5},
           volumeMounts: [{name: page, mountPath: /www}, {name: script, mountPath: /www/cgi-bin}]}
        - {name: echo, image: "busybox:1", command: [nc, -ll, -p, "7008", -e, /script/echo], volumeMounts: [{name: script, mountPath: /script}]}
      volumes:
        - {name: page, configMap: {name: linger, items: [{key: index.html, path: index.html}]}}
        - {name: script, configMap: {name: linger, defaultMode: 0755, items: [{key: flow, path: flow}, {key: echo, path: echo}]}}
---
apiVersion: v1
kind: Service
metadata: {name: linger}
spec: {selector: {app: linger}, ports: [{name: web, port: 80, targetPort: 8080}, {name: echo, port: 7008}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: linger}
spec:
  tls: [{hosts: [linger.test]}]
  rules:
    - host: linger.test
      http:
        paths:
          - {path: /echo, pathType: Prefix, backend: {service: {name: linger, port: {number: 7008}}}}
          - {path: /, pathType: Prefix, backend: {service: {name: linger, port: {number: 80}}}}
`

// linger: what runs through the ingress of a daemon that gives way to its next image, and to the next after that, runs on.
func linger(l lab) {
	l.apply("x1", lingering)
	l.kubectl("x1", "rollout", "status", "deployment/linger", "--timeout=60s")
	face, _ := l.m.PID("x2")
	plain, sealed, flow := l.upgraded("x2", false), l.upgraded("x2", true), l.download("x2")
	report := l.loaded("http://linger.test/", []string{"x2"}, func() {
		for range 2 {
			l.orpheus("x2", "restart")
			plain.ping()
			sealed.ping()
			flow.on()
		}
	})
	if report.Failed > 0 || report.Sent == 0 {
		l.t.Errorf("%d of %d requests failed: %v, first %v", report.Failed, report.Sent, report.Reasons, report.Failures[:min(3, len(report.Failures))])
	}
	late := l.upgraded("x2", true) // the second image is to stay behind as well
	l.orpheus("x2", "restart")
	late.ping()
	plain.ping()
	if n := len(l.children(face)); n != 2 {
		l.t.Errorf("%d processes follow the first one, want the one that carries a connection and the daemon", n)
	}
	flow.conn.Close()
	for _, t := range []*talk{plain, sealed, late} {
		t.mouth.(io.Closer).Close()
	}
	l.soon("only the daemon follows the first process", func() error {
		if left := l.children(face); len(left) != 1 {
			return fmt.Errorf("%v do", left)
		}
		return nil
	})
	if now, _ := l.m.PID("x2"); now != face {
		l.t.Errorf("x2's daemon is known as %d, was %d", now, face)
	}
	l.kubectl("x1", "delete", "ingress/linger", "service/linger", "deployment/linger", "configmap/linger")
}

// through opens a connection to a host's ingress and sends a request for the site.
func (l lab) through(host string, sealed bool, path string, header http.Header) (net.Conn, *bufio.Reader, *http.Response) {
	l.t.Helper()
	dial, err := l.m.Outside()
	l.check(err)
	port := map[bool]string{false: "80", true: "443"}[sealed]
	var conn net.Conn
	var resp *http.Response
	var in *bufio.Reader
	l.soon(path+" is served", func() error {
		c, err := dial(l.ctx, "tcp", net.JoinHostPort(l.addr(host), port))
		if err != nil {
			return err
		}
		if sealed {
			c = tls.Client(c, &tls.Config{ServerName: "linger.test", InsecureSkipVerify: true})
		}
		r, err := http.NewRequestWithContext(l.ctx, http.MethodGet, "http://linger.test"+path, nil)
		if err != nil {
			return err
		}
		r.Header = header
		in = bufio.NewReader(c)
		if err = errors.Join(c.SetDeadline(time.Now().Add(patience)), r.Write(c)); err == nil {
			resp, err = http.ReadResponse(in, r)
		}
		if err == nil && resp.StatusCode >= http.StatusBadRequest {
			err = errors.New(resp.Status)
		}
		if err != nil {
			c.Close()
			return err
		}
		conn = c
		return c.SetDeadline(time.Time{})
	})
	l.t.Cleanup(func() { conn.Close() })
	return conn, in, resp
}

// upgraded is a conversation that came through a host's ingress.
func (l lab) upgraded(host string, sealed bool) *talk {
	l.t.Helper()
	conn, in, resp := l.through(host, sealed, "/echo", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"echo"}})
	if resp.StatusCode != http.StatusSwitchingProtocols {
		l.t.Fatal(resp.Status)
	}
	t := &talk{l: l, to: host + "'s ingress", mouth: conn, ear: conn, answers: in}
	t.ping()
	return t
}

// flow is a download that is read all the time, and its lines counted.
type flow struct {
	l     lab
	conn  net.Conn
	lines chan int
	over  chan error
}

func (l lab) download(host string) *flow {
	l.t.Helper()
	conn, _, resp := l.through(host, true, "/cgi-bin/flow", nil)
	f := &flow{l: l, conn: conn, lines: make(chan int), over: make(chan error, 1)}
	go func() {
		body := bufio.NewScanner(resp.Body)
		n := 0
		for ; body.Scan() && body.Text() == strconv.Itoa(n); n++ {
			select {
			case f.lines <- n:
			default: // nobody waits for it
			}
		}
		f.over <- fmt.Errorf("the download broke after line %d: %q, %w", n, body.Text(), body.Err())
	}()
	f.on()
	return f
}

// on waits for more of it.
func (f *flow) on() {
	f.l.t.Helper()
	select {
	case <-f.lines:
	case err := <-f.over:
		f.l.t.Fatal(err)
	case <-time.After(patience):
		f.l.t.Fatal("the download stands still")
	}
}

// children are the processes that one started and that have not ended.
func (l lab) children(pid int) (all []string) {
	l.t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	l.check(err)
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ") // state, parent
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			all = append(all, filepath.Base(filepath.Dir(stat)))
		}
	}
	return all
}
