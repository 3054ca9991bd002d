package api

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

// side is a node of a mesh of two that don't see each other at first.
type side struct {
	*world
	disk *store.Store
	c    *kubernetes.Clientset
}

func identity(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func signed(name string) func([]byte) ([]byte, error) {
	return func(msg []byte) ([]byte, error) { return ed25519.Sign(identity(name), msg), nil }
}

func verified(actor string, msg, sig []byte) error {
	if public, ok := identity(actor).Public().(ed25519.PublicKey); !ok || !ed25519.Verify(public, msg, sig) {
		return errors.New("bad signature")
	}
	return nil
}

// twoSides are two API servers with few addresses and ports. From the first merge on they gossip, and a is home of what has an
// even last letter.
func twoSides(t *testing.T) (a, b *side, merge func()) {
	t.Helper()
	var met atomic.Bool
	sides := make([]*side, 2)
	for i, name := range []string{"node-a", "node-b"} {
		disk, err := store.Open(store.Config{Dir: t.TempDir(), Self: name, Class: Class, Sign: signed(name), Verify: verified, Publish: func(frame []byte) {
			if met.Load() {
				_ = sides[1-i].disk.Receive(name, frame)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- disk.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		cfg, air := testConfig(t, replica.Over(disk))
		cfg.Node, cfg.Services, cfg.NodePorts = name, netip.MustParsePrefix("10.97.0.0/24"), utilnet.PortRange{Base: 30000, Size: 60}
		cfg.Mine = func(_, _, name string) bool { return !met.Load() || int(name[len(name)-1])%2 == i }
		cfg.Sure = met.Load
		cfg.AskHost = func(ctx context.Context, node string, question []byte) ([]byte, error) {
			if !met.Load() || node != sides[1-i].cfg.Node {
				return nil, errors.New("out of reach")
			}
			return sides[1-i].Observe(ctx, question)
		}
		w := startWith(t, cfg, air)
		sides[i] = &side{world: w, disk: disk, c: w.admin(t)}
		eventually(t, "the first objects are there", func() bool {
			_, err := sides[i].c.DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
			return err == nil
		})
	}
	return sides[0], sides[1], func() { met.Store(true); reconcile(t, sides[0], sides[1]) }
}

// reconcile brings two stores to the same records once, without a word between the servers.
func reconcile(t *testing.T, a, b *side) {
	t.Helper()
	x, y := net.Pipe()
	done := make(chan error, 1)
	go func() { _, err := b.disk.ServeReconcile(context.Background(), y); y.Close(); done <- err }()
	_, err := a.disk.Reconcile(context.Background(), x)
	x.Close()
	if other := <-done; err != nil || other != nil {
		t.Fatal(err, other)
	}
}

func (s *side) create(t *testing.T, name string, change func(*v1.Service)) *v1.Service {
	t.Helper()
	return must(s.c.CoreV1().Services("default").Create(t.Context(), aService(name, change), metav1.CreateOptions{}))(t)
}

func withNodePort(n int32) func(*v1.Service) {
	return func(s *v1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = v1.ServiceTypeNodePort, n }
}

// doubles names what more than one Service has here, and what is in use without a claim.
func (s *side) doubles(t *testing.T) (out []string) {
	has := map[string]string{}
	for _, svc := range must(s.c.CoreV1().Services("").List(t.Context(), metav1.ListOptions{}))(t).Items {
		for _, what := range append(slices.Clone(svc.Spec.ClusterIPs), fmt.Sprint(svc.Spec.Ports[0].NodePort)) {
			if what == "0" || what == v1.ClusterIPNone {
				continue
			}
			if has[what] != "" {
				out = append(out, what+" is "+has[what]+"'s and "+svc.Name+"'s")
			}
			has[what] = svc.Name
		}
		ip, err := s.c.NetworkingV1().IPAddresses().Get(t.Context(), svc.Spec.ClusterIP, metav1.GetOptions{})
		if svc.Spec.ClusterIP != v1.ClusterIPNone && (err != nil || ip.Spec.ParentRef.Name != svc.Name) {
			out = append(out, svc.Spec.ClusterIP+" is not claimed for "+svc.Name)
		}
		if n := svc.Spec.Ports[0].NodePort; n != 0 && !s.land.ports.Has(int(n)) {
			out = append(out, fmt.Sprintf("port %d of %s is not claimed", n, svc.Name))
		}
	}
	return out
}

// TestWhatTwoSidesGaveOutTwiceIsGivenOutAnew: two API servers, each with a store of its own, create Services and then meet.
func TestWhatTwoSidesGaveOutTwiceIsGivenOutAnew(t *testing.T) {
	a, b, merge := twoSides(t)
	given := a.create(t, "given", withNodePort(0))
	port := given.Spec.Ports[0].NodePort
	wanted := b.create(t, "wanted", func(s *v1.Service) { withNodePort(port)(s); s.Spec.ClusterIP = given.Spec.ClusterIP })
	ports, twice := map[int32]bool{}, 0 // drawn at random, so it goes on until some have met
	for i := 0; twice < 6; i++ {
		for name, s := range map[string]*side{"a": a, "b": b} {
			port := s.create(t, fmt.Sprint(name, i), withNodePort(0)).Spec.Ports[0].NodePort
			if ports[port] {
				twice++
			}
			ports[port] = true
		}
	}
	for name, s := range map[string]*side{"none-a": a, "none-b": b} {
		s.create(t, name, func(s *v1.Service) { s.Spec.ClusterIP = v1.ClusterIPNone })
	}
	merge()
	var left []string
	eventually(t, "nothing is given out twice", func() bool {
		merge() // gossip
		left = append(a.doubles(t), b.doubles(t)...)
		return len(left) == 0
	})
	for _, s := range []*side{a, b} {
		all := s.c.CoreV1().Services("default")
		if now := must(all.Get(t.Context(), "wanted", metav1.GetOptions{}))(t); now.Spec.ClusterIP != wanted.Spec.ClusterIP || now.Spec.Ports[0].NodePort != port {
			t.Errorf("who asked has lost it: %v", now.Spec)
		}
		if now := must(all.Get(t.Context(), "given", metav1.GetOptions{}))(t); now.Spec.ClusterIP == given.Spec.ClusterIP || now.Spec.Ports[0].NodePort == port || now.UID != given.UID {
			t.Errorf("who was given it keeps it: %v", now)
		}
	}
	eventually(t, "the loser was told by its home", func() bool {
		told := map[string]bool{}
		for _, e := range must(a.c.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{}))(t).Items {
			told[e.InvolvedObject.Name+" "+e.Reason+" "+strings.SplitN(e.Message, " is now", 2)[0]] = true
		}
		return told["given Renumbered cluster address "+wanted.Spec.ClusterIP] && told[fmt.Sprintf("given Renumbered node port %d", port)]
	})
}

// TestWhatPeopleAskedForTwiceWaitsForThem and a claim is not lost with the loser's Service.
func TestWhatPeopleAskedForTwiceWaitsForThem(t *testing.T) {
	a, b, merge := twoSides(t)
	a.create(t, "one", withNodePort(30007))
	b.create(t, "two", withNodePort(30007))
	merge()
	for _, s := range []*side{a, b} {
		eventually(t, "it is known as a dispute", func() bool { return len(s.Disputes()) == 1 })
	}
	holder, loser := a.Disputes()[0].Holder.Service.Name, a.Disputes()[0].Loser.Service.Name
	if other := b.Disputes()[0]; other.Holder.Service.Name != holder {
		t.Fatalf("one node says %s, the other %s", holder, other.Holder.Service.Name)
	}
	all := a.c.CoreV1().Services("default")
	for _, name := range []string{"one", "two"} {
		if s := must(all.Get(t.Context(), name, metav1.GetOptions{}))(t); s.Spec.Ports[0].NodePort != 30007 {
			t.Errorf("%s has port %d now", name, s.Spec.Ports[0].NodePort)
		}
	}
	s := must(all.Get(t.Context(), loser, metav1.GetOptions{}))(t)
	s.Spec.Ports[0].NodePort = 30008
	must(all.Update(t.Context(), s, metav1.UpdateOptions{}))(t)
	eventually(t, "the dispute is over, and the holder's port still claimed", func() bool {
		merge()
		return len(a.Disputes())+len(b.Disputes()) == 0 && len(a.doubles(t))+len(b.doubles(t)) == 0
	})
}
