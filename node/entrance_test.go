package node

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestAnIngressShowsTheServersAtItsHomeOnly(t *testing.T) {
	ing := func(name string) *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "u"}}
	}
	client := fake.NewClientset(ing("here"), ing("elsewhere"))
	sure, servers := true, []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.2")}
	e := &entrance{client: client, sure: func() bool { return sure }, addresses: func() []netip.Addr { return servers }, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1),
		mine: func(_, _, name string) bool { return name == "here" }}
	shown := func(name string) (out []string) {
		i, err := client.NetworkingV1().Ingresses("ns").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range i.Status.LoadBalancer.Ingress {
			out = append(out, p.IP)
		}
		return out
	}
	round := func() (writes int) {
		var all []*networkingv1.Ingress
		for _, name := range []string{"here", "elsewhere"} {
			i, err := client.NetworkingV1().Ingresses("ns").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, i)
		}
		e.set(append(all, ing("gone")))
		client.ClearActions()
		e.round(t.Context())
		return len(client.Actions())
	}
	if n := round(); n != 1 || !slices.Equal(shown("here"), []string{"10.0.0.2", "10.0.0.9"}) || shown("elsewhere") != nil {
		t.Errorf("%d writes: %v, %v", n, shown("here"), shown("elsewhere"))
	}
	if n := round(); n != 0 {
		t.Errorf("%d writes though nothing has changed", n)
	}
	servers, sure = servers[:1], false
	if n := round(); n != 0 {
		t.Errorf("%d writes by a server that is not sure", n)
	}
	if sure = true; round() != 1 || !slices.Equal(shown("here"), []string{"10.0.0.9"}) {
		t.Errorf("a server left, and it shows %v", shown("here"))
	}
	servers = nil
	for i := range 40 {
		servers = append(servers, netip.MustParseAddr(fmt.Sprintf("10.0.1.%d", 40-i)))
	}
	if round(); len(shown("here")) != mostEntrances || shown("here")[0] != "10.0.1.1" {
		t.Errorf("of 40 servers it shows %v", shown("here"))
	}
}
