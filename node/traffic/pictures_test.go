package traffic

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/ingress"
)

func slice(service, port string, number int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: service + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &port, Port: &number}},
		Endpoints:   endpoints,
	}
}

func at(addr string, ready, serving, terminating bool) discoveryv1.Endpoint {
	node := "m1"
	return discoveryv1.Endpoint{Addresses: []string{addr}, NodeName: &node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}}
}

func TestReadyEndpointsFirstThenThoseThatStillServe(t *testing.T) {
	for name, test := range map[string]struct {
		in   []discoveryv1.Endpoint
		want []string
	}{
		"only the ready":                         {[]discoveryv1.Endpoint{at("10.0.0.2", true, true, false), at("10.0.0.1", false, false, false)}, []string{"10.0.0.2:8080"}},
		"sorted, without doubles":                {[]discoveryv1.Endpoint{at("10.0.0.2", true, true, false), at("10.0.0.1", true, true, false), at("10.0.0.2", true, true, false)}, []string{"10.0.0.1:8080", "10.0.0.2:8080"}},
		"terminating ones where nobody is ready": {[]discoveryv1.Endpoint{at("10.0.0.1", false, true, true), at("10.0.0.2", false, false, true)}, []string{"10.0.0.1:8080"}},
		"nobody":                                 {[]discoveryv1.Endpoint{at("10.0.0.1", false, false, false)}, nil},
	} {
		var got []string
		for _, e := range (backends{slice("web", "http", 8080, test.in...)}).port("http") {
			got = append(got, e.addr.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestPortsAreFoundByName(t *testing.T) {
	b := backends{slice("web", "http", 8080, at("10.0.0.1", true, true, false)), slice("web", "admin", 9090, at("10.0.0.1", true, true, false))}
	if got := b.port("admin"); len(got) != 1 || got[0].addr != netip.MustParseAddrPort("10.0.0.1:9090") {
		t.Errorf("got %v", got)
	}
	if got := b.port("none"); got != nil {
		t.Errorf("an unknown port has %v", got)
	}
}

func service(name string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.9", ClusterIPs: []string{"10.96.0.9"}, Ports: ports}}
}

func testWorld() world {
	headless := service("db", corev1.ServicePort{Name: "redis", Port: 6379})
	headless.Spec.ClusterIP, headless.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	alias := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "alias"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.test"}}
	return world{node: "m1", services: []*corev1.Service{service("web", corev1.ServicePort{Name: "http", Port: 80, NodePort: 30080}), headless, alias},
		slices: bySlice([]*discoveryv1.EndpointSlice{slice("web", "http", 8080, at("10.32.0.1", true, true, false)), slice("db", "redis", 6379, at("10.32.0.2", true, true, false))})}
}

func TestOnlyServicesWithAnAddressAreProgrammed(t *testing.T) {
	ports := testWorld().ports()
	if len(ports) != 1 || ports[0].Service != "ns/web" || ports[0].NodePort != 30080 || len(ports[0].Endpoints) != 1 || !ports[0].Endpoints[0].Local {
		t.Errorf("got %+v", ports)
	}
}

func TestNamesTellTheKindsOfServicesApart(t *testing.T) {
	for _, s := range testWorld().names() {
		switch s.Name {
		case "web":
			if len(s.ClusterIPs) != 1 || s.Headless {
				t.Errorf("web: %+v", s)
			}
		case "db":
			if !s.Headless || len(s.Endpoints) != 1 || s.Endpoints[0].Ports[0].Port != 6379 {
				t.Errorf("db: %+v", s)
			}
		case "alias":
			if s.ExternalName != "example.test" {
				t.Errorf("alias: %+v", s)
			}
		}
	}
}

func TestRoutesNameTheServiceThatTheyLackEndpointsOf(t *testing.T) {
	exact, prefix := networkingv1.PathTypeExact, networkingv1.PathTypePrefix
	path := func(p string, kind *networkingv1.PathType, svc, port string) networkingv1.HTTPIngressPath {
		return networkingv1.HTTPIngressPath{Path: p, PathType: kind, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: svc, Port: networkingv1.ServiceBackendPort{Name: port}}}}
	}
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "i"}, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
		Host: "h.test", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
			path("/a", &prefix, "web", "http"), path("/b", &exact, "gone", "http"), path("/c", &exact, "web", "admin"), path("/d", &exact, "empty", "http")}}}}}}}
	w := testWorld()
	w.services = append(w.services, service("empty", corev1.ServicePort{Name: "http", Port: 80}))
	rules := w.rules([]*networkingv1.Ingress{ing}, func(*networkingv1.Ingress) bool { return true })
	if len(rules) != 4 {
		t.Fatalf("got %d rules", len(rules))
	}
	if r := rules[0]; r.Match != ingress.Prefix || r.Backend.Name != "ns/web:http" || len(r.Backend.Endpoints) != 1 {
		t.Errorf("first: %+v", r)
	}
	if r := rules[1]; r.Match != ingress.Exact || r.Backend.Name != "ns/gone:http" || r.Backend.Endpoints != nil {
		t.Errorf("second: %+v", r)
	}
	for i, want := range []string{"", "there is no such service", "the service has no such port; it has 80 (http)", ""} {
		if got := rules[i].Backend.Missing; got != want {
			t.Errorf("%s lacks %q, want %q", rules[i].Backend.Name, got, want)
		}
	}
	if got := testWorld().rules([]*networkingv1.Ingress{ing}, func(*networkingv1.Ingress) bool { return false }); got != nil {
		t.Errorf("an ingress of another class has %v", got)
	}
}
