package agent_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"

	"github.com/orpheus-mesh/orpheus/node/agent/streaming"
)

// door is the streaming server of the bench, and how clients reach it.
type door struct {
	url    *url.URL
	client *rest.Config
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// authority signs certificates for the test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) issue(t *testing.T, group string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "someone", Organization: []string{group}}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", der), pemOf("EC PRIVATE KEY", raw)
}

func openDoor(t *testing.T, b *bench, group string) door {
	t.Helper()
	ca := newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	pair, err := tls.X509KeyPair(ca.issue(t, "servers"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	s := streaming.New(streaming.Config{Listen: addr, Engine: b.engine.Engine, Pods: b.agent, Log: slog.New(slog.DiscardHandler),
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}})
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	b.until("the door listens", 5*time.Second, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	cert, key := ca.issue(t, group)
	return door{&url.URL{Scheme: "https", Host: addr}, &rest.Config{Host: "https://" + addr,
		TLSClientConfig: rest.TLSClientConfig{CAData: pemOf("CERTIFICATE", ca.cert.Raw), CertData: cert, KeyData: key}}}
}

func (d door) at(path, query string) *url.URL {
	u := *d.url
	u.Path, u.RawQuery = path, query
	return &u
}

func (d door) get(t *testing.T, path, query string) (int, string) {
	t.Helper()
	c, err := rest.HTTPClientFor(d.client)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Get(d.at(path, query).String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func streams(t *testing.T, b *bench) {
	p := b.pod("talk", v1.PodSpec{Containers: []v1.Container{{Name: "c", Stdin: true,
		Command: sh("echo one; echo two; mkdir /tmp/w; echo inner > /tmp/w/x; httpd -p 127.0.0.1:8080 -h /tmp/w; while read l; do echo got $l; done; sleep 600")}}})
	b.untilPod("talk", "ready", 15*time.Second, ready)
	b.until("logs", 5*time.Second, func() bool { return strings.Contains(b.logs("talk", "c", false), "two") })
	d := openDoor(t, b, "system:masters")

	if code, text := d.get(t, "/containerLogs/ns/talk/c", "tailLines=1"); code != 200 || text != "two\n" {
		t.Errorf("logs: %d %q", code, text)
	}
	if _, text := d.get(t, "/containerLogs/ns/talk/c", "limitBytes=2"); text != "on" {
		t.Errorf("limited logs: %q", text)
	}
	if code, text := d.get(t, "/containerLogs/ns/talk/nobody", ""); code == 200 {
		t.Errorf("logs of nobody: %q", text)
	}
	if code, text := openDoor(t, b, "others").get(t, "/containerLogs/ns/talk/c", ""); code != http.StatusForbidden {
		t.Errorf("a stranger: %d %q", code, text)
	}

	query := "command=sh&command=-c&command=cat%3B+echo+bad+%3E%262%3B+exit+3&input=1&output=1&error=1"
	spdyExec, err := remotecommand.NewSPDYExecutor(d.client, "POST", d.at("/exec/ns/talk/c", query))
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	err = spdyExec.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("in"), Stdout: &out, Stderr: &errs})
	if err == nil || !strings.Contains(err.Error(), "exit code 3") || out.String() != "in" || errs.String() != "bad\n" {
		t.Errorf("exec: %v %q %q", err, out.String(), errs.String())
	}

	attach, err := remotecommand.NewSPDYExecutor(d.client, "POST", d.at("/attach/ns/talk/c", "input=1&output=1"))
	if err != nil {
		t.Fatal(err)
	}
	in, feed := io.Pipe()
	seen := &syncBuffer{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	left := make(chan error, 1)
	go func() { left <- attach.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: seen}) }()
	fmt.Fprintln(feed, "hello")
	b.until("the answer of the attached process", 5*time.Second, func() bool { return strings.Contains(seen.String(), "got hello") })
	cancel()
	<-left

	forward(t, d)
	b.delete("talk", 0)
	b.gone("talk", string(p.UID))
}

// forward reaches a server that listens on the pod's loopback only.
func forward(t *testing.T, d door) {
	rt, up, err := spdy.RoundTripperFor(d.client)
	if err != nil {
		t.Fatal(err)
	}
	stop, up2 := make(chan struct{}), make(chan struct{})
	f, err := portforward.New(spdy.NewDialer(up, &http.Client{Transport: rt}, "POST", d.at("/portForward/ns/talk", "")), []string{"0:8080"}, stop, up2, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- f.ForwardPorts() }()
	select {
	case <-up2:
	case err := <-over:
		t.Fatal(err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/x", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(text) != "inner\n" {
		t.Errorf("forwarded: %q", text)
	}
	close(stop)
	<-over
}
