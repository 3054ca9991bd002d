package traffic

import (
	"context"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/orpheus-mesh/orpheus/ingress"
	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/netmesh/dns"
)

func selecting(name string, selector map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.9", ClusterIPs: []string{"10.96.0.9"}, Selector: selector, Ports: []corev1.ServicePort{{Port: 80}}}}
}

func derived(name string, endpoints ...string) *discoveryv1.EndpointSlice {
	port := int32(80)
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}}}
	for _, a := range endpoints {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

// A daemon that has just begun knows its services but has derived no endpoints yet. Were they drawn so, every service of the host
// would be empty for a moment.
func TestTheFirstPictureHasAllEndpoints(t *testing.T) {
	app := map[string]string{"app": "x"}
	objects := []runtime.Object{selecting("web", app), selecting("db", app), selecting("outside", nil), derived("db")}
	client := fake.NewClientset(objects...)
	drawn := make(chan []netmesh.ServicePort, 16)
	tr, err := New(client, "me", Sinks{Services: func(p []netmesh.ServicePort) { drawn <- p }, Names: func([]dns.Service) {},
		Routes: func([]ingress.Rule, []ingress.Certificate) {}, Ingresses: func([]*networkingv1.Ingress) {}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	for _, synced := range tr.synced {
		for !synced() {
			select {
			case p := <-drawn:
				t.Fatalf("drawn too early: %v", p)
			default:
			}
		}
	}
	if _, err := client.DiscoveryV1().EndpointSlices("ns").Create(ctx, derived("web", "10.32.0.7"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	first := <-drawn
	found := map[string]int{}
	for _, p := range first {
		found[p.Service] = len(p.Endpoints)
	}
	if len(found) != 3 || found["ns/web"] != 1 {
		t.Errorf("the first picture: %v", found)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestOneServiceIsServedAtAnAddress: two have it, because two sides of a partition gave it out.
func TestOneServiceIsServedAtAnAddress(t *testing.T) {
	older, younger := selecting("older", nil), selecting("younger", nil)
	younger.CreationTimestamp = metav1.Now()
	younger.Spec.Ports[0].NodePort = 30001
	var ports []netmesh.ServicePort
	var names []dns.Service
	tr, err := New(fake.NewClientset(), "me", Sinks{Services: func(p []netmesh.ServicePort) { ports = p }, Names: func(n []dns.Service) { names = n },
		Routes: func([]ingress.Rule, []ingress.Certificate) {}, Ingresses: func([]*networkingv1.Ingress) {}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*corev1.Service{younger, older} {
		if err := tr.informers[0].Core().V1().Services().Informer().GetStore().Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.draw(true); err != nil {
		t.Fatal(err)
	}
	if len(ports) != 2 || len(ports[0].ClusterIPs) != 1 || len(ports[1].ClusterIPs) != 0 || ports[1].NodePort != 30001 {
		t.Errorf("the data plane gets %+v", ports)
	}
	for _, n := range names {
		if got := len(n.ClusterIPs); got != map[string]int{"older": 1, "younger": 0}[n.Name] {
			t.Errorf("the name %s has %d addresses", n.Name, got)
		}
	}
}
