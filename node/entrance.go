package node

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/gossip"
)

const (
	// mostEntrances bounds the addresses in a status: any of them leads in, and clients of DNS want few.
	mostEntrances = 16
	// entranceSweep is how often addresses are looked at: about as long as a restart may take, so that one writes nothing.
	entranceSweep   = 15 * time.Second
	entranceTimeout = 10 * time.Second // of one write
)

// entrance tells in the status of each ingress which addresses lead to it: those of all servers, since each serves all
// ingresses. The ingress's home writes it, where it differs.
type entrance struct {
	client    kubernetes.Interface // a machine's: a person's write would settle conflicts
	mine      func(kind, namespace, name string) bool
	sure      func() bool // a server that sees few others does not know who is gone
	addresses func() []netip.Addr
	log       *slog.Logger

	mu   sync.Mutex // guards what is below
	all  []*networkingv1.Ingress
	wake chan struct{}
}

// set takes the ingresses that are ours. It keeps the slice.
func (e *entrance) set(all []*networkingv1.Ingress) {
	e.mu.Lock()
	e.all = all
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends: soon after ingresses have changed, and every now and then for what changed of servers and homes.
func (e *entrance) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-time.After(entranceSweep + rand.N(entranceSweep/4)):
		}
		e.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second): // changes come in crowds
		}
	}
}

func (e *entrance) round(ctx context.Context) {
	if !e.sure() {
		return
	}
	e.mu.Lock()
	all := e.all
	e.mu.Unlock()
	want := points(e.addresses())
	for _, ing := range all {
		if ctx.Err() != nil {
			return
		}
		if slices.EqualFunc(ing.Status.LoadBalancer.Ingress, want, samePoint) || !e.mine("networking.k8s.io/ingresses", ing.Namespace, ing.Name) {
			continue
		}
		if err := e.write(ctx, ing, want); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			e.log.Warn("an ingress does not show its addresses yet", "ingress", ing.Namespace+"/"+ing.Name, "error", err)
		}
	}
}

// write replaces the addresses of that very ingress, whatever else has changed of it meanwhile.
func (e *entrance) write(ctx context.Context, ing *networkingv1.Ingress, want []networkingv1.IngressLoadBalancerIngress) error {
	ctx, cancel := context.WithTimeout(ctx, entranceTimeout)
	defer cancel()
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": ing.UID},
		"status":   networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: want}},
	})
	if err != nil {
		return err
	}
	_, err = e.client.NetworkingV1().Ingresses(ing.Namespace).Patch(ctx, ing.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "orpheus-ingress"}, "status")
	return err
}

func points(addresses []netip.Addr) []networkingv1.IngressLoadBalancerIngress {
	addresses = slices.Compact(slices.SortedFunc(slices.Values(addresses), netip.Addr.Compare))
	out := make([]networkingv1.IngressLoadBalancerIngress, 0, min(len(addresses), mostEntrances))
	for _, a := range addresses[:cap(out)] {
		out = append(out, networkingv1.IngressLoadBalancerIngress{IP: a.String()})
	}
	return out
}

func samePoint(a, b networkingv1.IngressLoadBalancerIngress) bool {
	return cmp.Or(cmp.Compare(a.IP, b.IP), cmp.Compare(a.Hostname, b.Hostname)) == 0 && len(a.Ports) == len(b.Ports)
}

// inService are the addresses of the servers that are not known to be gone.
func (s *server) inService() (out []netip.Addr) {
	for _, m := range s.mesh.Members() {
		if card, ok := s.roster.ByID(m.ID); ok && m.State != gossip.Failed && m.State != gossip.Left && !s.mesh.Evicted(m.ID) {
			out = append(out, card.Addr)
		}
	}
	return out
}
