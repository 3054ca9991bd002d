package api

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// aStreamingServer plays the kubelet's part of a node: it says who asks for what.
func aStreamingServer(t *testing.T, cfg Config, node string) netip.AddrPort {
	t.Helper()
	ca, err := newAuthority(cfg.Keys.CACert, cfg.Keys.CAKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: node}, DNSNames: []string{node}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair := must(tls.X509KeyPair(cert, key))(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := r.TLS.PeerCertificates[0].Subject
		fmt.Fprintf(w, "%s of %s asks for %s", who.CommonName, strings.Join(who.Organization, ","), r.URL.Path)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
	s.StartTLS()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestLogsComeFromTheHostUnderItsOwnName(t *testing.T) {
	cfg, air := testConfig(t, onDisk(t))
	at := aStreamingServer(t, cfg, "node-b")
	cfg.Hosts = func(node string) (netip.AddrPort, error) { return at, nil } // whatever the name: the certificate tells
	w := startWith(t, cfg, air)
	withAccount(t, w)
	c := w.admin(t).CoreV1().Pods("default")
	logs := func(node string) (string, error) {
		t.Helper()
		name := "on-" + node
		must(c.Create(t.Context(), aPod(name, func(p *v1.Pod) { p.Spec.NodeName = node }), metav1.CreateOptions{}))(t)
		r, err := c.GetLogs(name, &v1.PodLogOptions{Container: "c"}).Stream(t.Context())
		if err != nil {
			return "", err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		return string(b), err
	}
	if got, err := logs("node-b"); err != nil || got != "orpheus-api of system:masters asks for /containerLogs/default/on-node-b/c" {
		t.Errorf("logs of a pod on node-b: %q, %v", got, err)
	}
	if got, err := logs("node-c"); err == nil {
		t.Errorf("a host that is not node-c answered for it: %q", got)
	}
}

func TestTheStreamingDoorIsForServersOnly(t *testing.T) {
	cfg, _ := testConfig(t, onDisk(t))
	s := must(New(cfg))(t)
	door := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	door.TLS = s.StreamingTLS()
	door.StartTLS()
	defer door.Close()
	ask := func(user string, groups ...string) error {
		t.Helper()
		client := &tls.Config{RootCAs: s.ca.pool(), ServerName: cfg.Node}
		if user != "" {
			cert, key, err := s.ca.client(user, groups)
			if err != nil {
				t.Fatal(err)
			}
			client.Certificates = []tls.Certificate{must(tls.X509KeyPair(cert, key))(t)}
		}
		tr := &http.Transport{TLSClientConfig: client}
		defer tr.CloseIdleConnections()
		r, err := (&http.Client{Transport: tr}).Get(door.URL)
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	if err := ask("orpheus-api", "system:masters"); err != nil {
		t.Errorf("an API server gets %v", err)
	}
	if ask("alice", "developers") == nil {
		t.Error("alice came in past RBAC")
	}
	if ask("") == nil {
		t.Error("a stranger came in")
	}
}
