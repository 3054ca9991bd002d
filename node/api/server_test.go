package api

import (
	"context"

	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/node/api/internal/memory"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

// testCA makes a CA as the mesh does.
func testCA(t *testing.T) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "orpheus test CA"}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// sky is what a node believes of hosts, for tests to change.
type sky struct {
	mu   sync.Mutex
	host map[string]gossip.State
	at   time.Time
	wake chan struct{}
}

func (s *sky) Host(node string) (gossip.State, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host[node], s.at
}

func (s *sky) set(node string, state gossip.State) {
	s.mu.Lock()
	s.host[node], s.at = state, time.Now()
	s.mu.Unlock()
	s.wake <- struct{}{}
}

// world is one node's API with everything around it in memory.
type world struct {
	*Server
	store replica.Store
	sky   *sky
	url   string
	stop  func() error // ends the server and waits for it
}

func testConfig(t *testing.T, st replica.Store) (Config, *sky) {
	t.Helper()
	cert, key := testCA(t)
	token, err := LoadTokenKey(filepath.Join(t.TempDir(), "sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	air := &sky{host: map[string]gossip.State{}, wake: make(chan struct{}, 1)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Store: st, Node: "node-a", Advertise: netip.MustParseAddr("192.0.2.10"), Listener: ln,
		Keys: gossip.Keys{CACert: cert, CAKey: key, Secrets: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}},
		Live: air, Changed: air.wake, TokenKey: token,
		Hosts: func(string) (netip.AddrPort, error) { return netip.AddrPort{}, errors.New("no such host in this test") },
		Log:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, air
}

// start runs a server until the test ends, and waits for the objects that each server makes: it is ready before where it is slow.
func start(t *testing.T, st replica.Store) *world {
	t.Helper()
	cfg, air := testConfig(t, st)
	w := startWith(t, cfg, air)
	c := w.admin(t)
	eventually(t, "the first objects are there", func() bool {
		_, namespace := c.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
		_, slice := c.DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
		return namespace == nil && slice == nil
	})
	return w
}

func startWith(t *testing.T, cfg Config, air *sky) *world {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the server stopped with %v", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("the server ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the server is not ready after 30 s")
	}
	return &world{Server: s, store: cfg.Store, sky: air, url: "https://" + cfg.Listener.Addr().String(), stop: stop}
}

// as is a client over mTLS.
func (w *world) as(t *testing.T, user string, groups ...string) *kubernetes.Clientset {
	t.Helper()
	return clientOf(t, w.config(t, user, groups...))
}

func (w *world) config(t *testing.T, user string, groups ...string) *rest.Config {
	t.Helper()
	b, err := w.Kubeconfig(user, groups, w.url)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	return cfg
}

func clientOf(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) admin(t *testing.T) *kubernetes.Clientset {
	return w.as(t, "admin", "system:masters")
}

// onDisk is the replicated store of a mesh of one, as a node has it.
func onDisk(t *testing.T) replica.Store {
	t.Helper()
	s, _ := living(t, t.TempDir())
	return s
}

// must is for what is not the subject of a test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestTheFirstObjectsAreThere(t *testing.T) {
	began := time.Now()
	w := start(t, memory.New())
	t.Logf("ready after %v", time.Since(began))
	c := w.admin(t)
	for _, ns := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		if _, err := c.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	svc := must(c.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{}))(t)
	if svc.Spec.ClusterIP != "10.96.0.1" {
		t.Errorf("the API's own address is %s", svc.Spec.ClusterIP)
	}
	slice := must(c.DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{}))(t)
	if slice.Endpoints[0].Addresses[0] != "192.0.2.10" {
		t.Errorf("its endpoint is %v", slice.Endpoints)
	}
	if info := must(c.Discovery().ServerVersion())(t); info.GitVersion != "v1.36.3+orpheus" || info.Minor != "36" {
		t.Errorf("the server calls itself %v", info)
	}
}
