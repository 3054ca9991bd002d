package api

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/internal/memory"
)

func aService(name string, change func(*v1.Service)) *v1.Service {
	s := &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.ServiceSpec{Ports: []v1.ServicePort{{Port: 80}}}}
	if change != nil {
		change(s)
	}
	return s
}

func TestServiceAddressesAndNodePortsAreGivenOnce(t *testing.T) {
	st := onDisk(t)
	cfg, air := testConfig(t, st)
	w := startWith(t, cfg, air)
	c := w.admin(t).CoreV1().Services("default")
	const n = 24
	made := make([]*v1.Service, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			s, err := c.Create(t.Context(), aService(fmt.Sprint("s", i), func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeNodePort }), metav1.CreateOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			made[i] = s
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	addrs, ports := map[string]bool{}, map[int32]bool{}
	for _, s := range made {
		addrs[s.Spec.ClusterIP], ports[s.Spec.Ports[0].NodePort] = true, true
		if !cfg.Services.IsValid() && net.ParseIP(s.Spec.ClusterIP) == nil {
			t.Errorf("address %q", s.Spec.ClusterIP)
		}
	}
	if len(addrs) != n || len(ports) != n {
		t.Errorf("%d Services have %d addresses and %d ports", n, len(addrs), len(ports))
	}
	taken := made[0]
	if _, err := c.Create(t.Context(), aService("thief", func(s *v1.Service) { s.Spec.ClusterIP = taken.Spec.ClusterIP }), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an address that is taken: %v", err)
	}
	thief := aService("thief", func(s *v1.Service) {
		s.Spec.Type = v1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort = taken.Spec.Ports[0].NodePort
	})
	if _, err := c.Create(t.Context(), thief, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a node port that is taken: %v", err)
	}

	// A new life of the server knows the claims of the one before.
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	var err error
	if cfg.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	w = startWith(t, cfg, air)
	c = w.admin(t).CoreV1().Services("default")
	if _, err := c.Create(t.Context(), thief, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("after a restart, a node port that is taken: %v", err)
	}
	if err := c.Delete(t.Context(), taken.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	thief.Spec.ClusterIP = taken.Spec.ClusterIP
	if _, err := c.Create(t.Context(), thief, metav1.CreateOptions{}); err != nil {
		t.Errorf("what was given back can't be taken: %v", err)
	}
}

func TestSecretsAreSealedInTheStore(t *testing.T) {
	st := onDisk(t)
	w := start(t, st)
	c := w.admin(t).CoreV1().Secrets("default")
	word := []byte("correct horse battery staple")
	must(c.Create(t.Context(), &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"password": word}}, metav1.CreateOptions{}))(t)
	key := store.Key{Kind: secretKind, Namespace: "default", Name: "s"}
	before, _ := st.Get(key)
	if bytes.Contains(before.Bodies[store.Intent], word) || bytes.Contains(before.Bodies[store.Intent], []byte("password")) {
		t.Error("the store holds it in clear")
	}
	if n, err := w.RotateSecrets(t.Context()); n != 0 || err != nil {
		t.Errorf("a rotation without a new key sealed %d, %v", n, err)
	}
	old := w.cfg.Keys.Secrets[0]
	if err := w.SetSecretKeys([][]byte{bytes.Repeat([]byte{7}, 32), old}); err != nil {
		t.Fatal(err)
	}
	if n, err := w.RotateSecrets(t.Context()); n != 1 || err != nil {
		t.Errorf("the rotation sealed %d, %v", n, err)
	}
	if err := w.SetSecretKeys([][]byte{bytes.Repeat([]byte{7}, 32)}); err != nil {
		t.Fatal(err)
	}
	after, _ := st.Get(key)
	if bytes.Equal(before.Bodies[store.Intent], after.Bodies[store.Intent]) || !after.Human || after.UID != before.UID {
		t.Error("after the rotation it is the same cover, or another's Secret")
	}
	if s := must(c.Get(t.Context(), "s", metav1.GetOptions{}))(t); !bytes.Equal(s.Data["password"], word) {
		t.Errorf("under the new key alone it reads %q", s.Data)
	}
}

// TestTheCollectorNeedsProof sends the garbage collector after dependents whose owners are alive, unknown, and dead.
func TestTheCollectorNeedsProof(t *testing.T) {
	w := start(t, memory.New())
	admin := w.admin(t)
	cfg := w.Loopback()
	cfg.Impersonate = rest.ImpersonationConfig{UserName: collector, Groups: []string{"system:masters"}}
	gc := clientOf(t, cfg).CoreV1().ConfigMaps("default")
	owner := must(admin.AppsV1().Deployments("default").Create(t.Context(), aDeployment(), metav1.CreateOptions{}))(t)
	ref := *metav1.NewControllerRef(owner, appsv1.SchemeGroupVersion.WithKind("Deployment"))
	unknown := ref
	unknown.Name, unknown.UID = "not-here-yet", "12345678-1234-1234-1234-123456789abc"
	for name, refs := range map[string][]metav1.OwnerReference{"kept": {ref}, "early": {unknown}, "free": nil} {
		must(admin.CoreV1().ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: refs}}, metav1.CreateOptions{}))(t)
		if err := gc.Delete(t.Context(), name, metav1.DeleteOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("the collector takes %s: %v, want 409", name, err)
		}
	}
	early := must(gc.Get(t.Context(), "early", metav1.GetOptions{}))(t)
	early.OwnerReferences = nil
	if _, err := gc.Update(t.Context(), early, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("the collector takes an owner reference off: %v, want 409", err)
	}
	if err := admin.AppsV1().Deployments("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := gc.Delete(t.Context(), "kept", metav1.DeleteOptions{}); err != nil {
		t.Errorf("with its owner dead the collector still gets %v", err)
	}
	if err := admin.CoreV1().ConfigMaps("default").Delete(t.Context(), "early", metav1.DeleteOptions{}); err != nil {
		t.Errorf("a person who deletes gets %v", err)
	}
}
