package tenure

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// service has an address and a node port; owned are its managed fields.
func service(name string, age int64, addr string, port int32, owned ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.Unix(1000-age, 0)},
		Spec: corev1.ServiceSpec{ClusterIP: addr, ClusterIPs: []string{addr}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, NodePort: port}}}}
	for _, f := range owned {
		s.ManagedFields = append(s.ManagedFields, metav1.ManagedFieldsEntry{FieldsV1: metav1.NewFieldsV1(f)})
	}
	return s
}

const (
	nobodys   = `{"f:spec":{"f:type":{},"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}`
	itsAddr   = `{"f:spec":{"f:clusterIP":{}}}`
	itsPort   = `{"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:nodePort":{}}}}}`
	otherPort = `{"f:spec":{"f:ports":{"k:{\"port\":81,\"protocol\":\"TCP\"}":{"f:nodePort":{}}}}}`
	itsHealth = `{"f:spec":{"f:healthCheckNodePort":{}}}`
)

func TestWhoKeepsIt(t *testing.T) {
	addr, port := Asset{Addr: netip.MustParseAddr("10.96.0.7")}, Asset{Port: 30080}
	for name, c := range map[string]struct {
		a, b     *corev1.Service
		asset    Asset
		want     string
		disputed bool
	}{
		"the older":                                            {service("a", 1, "10.96.0.7", 0), service("b", 2, "10.96.0.7", 0), addr, "b", false},
		"of two of one second some one":                        {service("a", 1, "10.96.0.7", 0), service("b", 1, "10.96.0.7", 0), addr, "a", false},
		"who asked, though younger":                            {service("a", 1, "10.96.0.7", 0, nobodys, itsAddr), service("b", 2, "10.96.0.7", 0, nobodys), addr, "a", false},
		"the older of two who asked":                           {service("a", 1, "10.96.0.7", 0, itsAddr), service("b", 2, "10.96.0.7", 0, itsAddr), addr, "b", true},
		"who asked for the port":                               {service("a", 1, "", 30080, itsPort), service("b", 2, "", 30080, nobodys, otherPort), port, "a", false},
		"who asked for an address has no more right to a port": {service("a", 1, "10.96.0.1", 30080, itsAddr), service("b", 2, "10.96.0.2", 30080), port, "b", false},
	} {
		var l Ledger
		for _, s := range []*corev1.Service{c.a, c.b} {
			Slim(s)
			l.Set(named(s), Of(s))
		}
		if got := l.Claims(c.asset); len(got) != 2 || got[0].Service.Name != c.want {
			t.Errorf("%s: got %v", name, got)
		}
		if got := l.Disputes(); len(got) > 0 != c.disputed {
			t.Errorf("%s: a person has to decide: %v", name, got)
		}
	}
}

func TestAPortForHealthChecksIsANodePort(t *testing.T) {
	s := service("a", 1, "None", 30080, itsHealth)
	s.Spec.HealthCheckNodePort = 30081
	got := Of(s)
	if len(got) != 2 || got[0].Asset != (Asset{Port: 30080}) || got[0].Asked || got[1].Asset != (Asset{Port: 30081}) || !got[1].Asked {
		t.Errorf("it has %v", got)
	}
	if !Replace(s, Asset{Port: 30081}, Asset{Port: 30090}) || s.Spec.HealthCheckNodePort != 30090 || s.Spec.Ports[0].NodePort != 30080 {
		t.Errorf("another port for its health checks makes it %v", s.Spec)
	}
}

func TestTheLoserIsServedWithoutIt(t *testing.T) {
	holder, loser, other := service("a", 2, "10.96.0.7", 30080), service("b", 1, "10.96.0.7", 30081), service("c", 1, "10.96.0.8", 30082)
	got := Settled([]*corev1.Service{loser, holder, other})
	if got[1] != holder || got[2] != other {
		t.Error("who lost nothing is another")
	}
	if got[0].Spec.ClusterIP != "" || got[0].Spec.ClusterIPs[0] != "" || got[0].Spec.Ports[0].NodePort != 30081 || loser.Spec.ClusterIP != "10.96.0.7" {
		t.Errorf("the loser is served as %v", got[0].Spec)
	}
}

// TestEveryOrderAgrees: who knows the same Services decides alike, and who knows fewer does not take the holder for a loser.
func TestEveryOrderAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Asset{Port: 30080}
		n := rapid.IntRange(1, 6).Draw(t, "services")
		all := make([]Claim, n)
		for i := range all {
			all[i] = Claim{Asset: a, Service: types.NamespacedName{Name: fmt.Sprint(i)}, UID: types.UID(fmt.Sprint(i)),
				Since: rapid.Int64Range(0, 2).Draw(t, "since"), Asked: rapid.Bool().Draw(t, "asked")}
		}
		var one, other, fewer Ledger
		for _, c := range all {
			one.Set(c.Service, []Claim{c})
		}
		for _, i := range rapid.Permutation(order(n)).Draw(t, "order") {
			other.Set(all[i].Service, nil)
			other.Set(all[i].Service, []Claim{all[i]})
		}
		for i, c := range one.Claims(a) {
			if other.Claims(a)[i] != c {
				t.Fatalf("%v and %v", one.Claims(a), other.Claims(a))
			}
		}
		holder := one.Claims(a)[0]
		fewer.Set(holder.Service, []Claim{holder})
		for _, c := range all {
			if rapid.Bool().Draw(t, "known") {
				fewer.Set(c.Service, []Claim{c})
			}
		}
		if fewer.Claims(a)[0] != holder {
			t.Fatalf("of %v the holder is not %v", fewer.Claims(a), holder)
		}
		for _, c := range all {
			one.Set(c.Service, nil)
		}
		if len(one.Assets()) != 0 {
			t.Fatalf("nobody is left, and it knows of %v", one.Assets())
		}
	})
}

func order(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}
