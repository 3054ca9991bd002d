package controllers_test

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

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
	"github.com/orpheus-mesh/orpheus/node/binder"
	"github.com/orpheus-mesh/orpheus/node/controllers"
)

// whole is one node for real: store, API, controllers and binder. Only the hosts' agents are played.
type whole struct {
	t       *testing.T
	client  kubernetes.Interface
	changed chan struct{}

	mu    sync.Mutex
	state map[string]controllers.HostState
}

func (w *whole) Host(string) (gossip.State, time.Time) { return gossip.Alive, time.Time{} }

func (w *whole) hostState(n string) controllers.HostState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state[n]
}

func (w *whole) set(n string, s controllers.HostState) {
	w.mu.Lock()
	w.state[n] = s
	w.mu.Unlock()
	w.changed <- struct{}{}
}

func startWhole(t *testing.T) *whole {
	t.Helper()
	w := &whole{t: t, changed: make(chan struct{}, 1), state: map[string]controllers.HostState{}}
	level := slog.LevelError
	if os.Getenv("CONTROLLERS_LOG") != "" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	st, err := store.Open(store.Config{Dir: t.TempDir(), Self: "n1", Class: api.Class})
	if err != nil {
		t.Fatal(err)
	}
	w.run("store", st.Run)
	cert, key := authority(t)
	token, err := api.LoadTokenKey(filepath.Join(t.TempDir(), "sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Config{Store: replica.Over(st), Node: "n1", Advertise: netip.MustParseAddr("192.0.2.10"), Listener: ln,
		Keys: gossip.Keys{CACert: cert, CAKey: key, Secrets: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}},
		Live: w, Changed: make(chan struct{}), TokenKey: token, Log: log,
		Hosts: func(string) (netip.AddrPort, error) { return netip.AddrPort{}, errors.New("none") }})
	if err != nil {
		t.Fatal(err)
	}
	w.run("api", server.Run)
	w.await("the API", func() bool {
		select {
		case <-server.Ready():
			return true
		default:
			return false
		}
	})
	w.client = person(t, server, "https://"+ln.Addr().String())
	mine := func(string, string, string) bool { return true }
	c, err := controllers.New(controllers.Config{Client: server.Loopback(), Mine: mine, Changed: w.changed, HostState: w.hostState, Member: func(string) (known, evicted bool) { return true, false },
		Settled: func() bool { return true }, Hold: func() (bool, string) { return false, "" }, Slow: func() bool { return false }, RootCA: cert, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	b, err := binder.New(binder.Config{Client: server.Loopback(), Mine: mine, Changed: make(chan struct{}), Log: log,
		Admit: func(context.Context, string, *corev1.Pod) (bool, string, error) { return true, "", nil }})
	if err != nil {
		t.Fatal(err)
	}
	w.awaitPolicy()
	w.run("controllers", c.Run)
	w.run("binder", b.Run)
	w.run("agents", w.agents)
	w.await("the informers", func() bool {
		select {
		case <-c.Ready():
			return true
		default:
			return false
		}
	})
	return w
}

// awaitPolicy waits until upstream's roles are bound: a server with much else to do is ready before, and a controller that is
// refused what it needs gives up. The node waits likewise.
func (w *whole) awaitPolicy() {
	service := []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}
	for _, spec := range []authorizationv1.SubjectAccessReviewSpec{
		{User: "system:serviceaccount:kube-system:namespace-controller", Groups: service, NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/api", Verb: "get"}},
		{User: "system:kube-scheduler", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"}},
		{User: "system:serviceaccount:kube-system:ttl-after-finished-controller", Groups: service,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "delete", Group: "batch", Resource: "jobs"}},
	} {
		w.await("the policy for "+spec.User, func() bool {
			r, err := w.client.AuthorizationV1().SubjectAccessReviews().Create(w.t.Context(), &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
			return err == nil && r.Status.Allowed
		})
	}
}

// person is a cluster-admin's client over mTLS.
func person(t *testing.T, server *api.Server, url string) kubernetes.Interface {
	t.Helper()
	raw, err := server.Kubeconfig("admin", []string{"system:masters"}, url)
	if err != nil {
		t.Fatal(err)
	}
	r, err := clientcmd.RESTConfigFromKubeConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	r.QPS = -1
	c, err := kubernetes.NewForConfig(r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run ends what it started, in reverse order.
func (w *whole) run(name string, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("%s ended with %v", name, err)
		}
	})
}

// agents play the hosts: what is bound runs, a Job's pod succeeds, what is to go is let go, unless the host is lost.
func (w *whole) agents(ctx context.Context) error {
	pods := w.client.CoreV1().Pods("")
	events, err := pods.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer events.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events.ResultChan():
			if !ok {
				return errors.New("the watch ended")
			}
			p, isPod := e.Object.(*corev1.Pod)
			if !isPod || e.Type == watch.Deleted || p.Spec.NodeName == "" || w.hostState(p.Spec.NodeName) == controllers.Failed {
				continue
			}
			w.play(ctx, p)
		}
	}
}

func (w *whole) play(ctx context.Context, p *corev1.Pod) {
	pods := w.client.CoreV1().Pods(p.Namespace)
	if p.DeletionTimestamp != nil {
		_ = pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		return
	}
	if p.Status.Phase != corev1.PodPending {
		return
	}
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "10.32.0.5"
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.32.0.5"}}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
	if p.Labels["ends"] != "" {
		p.Status.Phase = corev1.PodSucceeded
	}
	_, _ = pods.UpdateStatus(ctx, p, metav1.UpdateOptions{}) // a conflict comes back as an event
}

func (w *whole) node(name string) {
	w.t.Helper()
	ctx := w.t.Context()
	n, err := w.client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	n.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("20")}
	n.Status.Capacity = n.Status.Allocatable
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	n.Spec.Taints = nil
	if _, err := w.client.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// await asks every 20 ms, for at most 20 s.
func (w *whole) await(what string, is func() bool) {
	w.t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Since(began) > 20*time.Second {
			w.t.Fatalf("%s: not after 20 s", what)
		}
		<-tick.C
	}
	w.t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
}

func authority(t *testing.T) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}
