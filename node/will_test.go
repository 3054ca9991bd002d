package node

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/orpheus-mesh/orpheus/ingress"
	"github.com/orpheus-mesh/orpheus/netmesh/dns"
)

// What the next image goes on by must be what this one knew, to the last field.
func TestTheWillLosesNothing(t *testing.T) {
	at := netip.MustParseAddr("10.32.0.7")
	left := will{
		Names: []dns.Service{{Namespace: "a", Name: "db", Headless: true, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.9")}, ExternalName: "x.example",
			Endpoints: []dns.Endpoint{{Addr: at, Hostname: "db-0", Ports: []dns.Port{{Name: "p", Protocol: "TCP", Port: 5}}}}, Ports: []dns.Port{{Name: "q", Protocol: "UDP", Port: 6}}}},
		Rules: []ingress.Rule{{Name: "a/web", Host: "h.test", Path: "/x", Match: ingress.Exact,
			Backend: ingress.Backend{Name: "a/web:80", Endpoints: []netip.AddrPort{netip.AddrPortFrom(at, 80)}}}},
		Certificates: []ingress.Certificate{{Name: "a/tls", Hosts: []string{"h.test"}, Cert: []byte{1, 0, 255}, Key: []byte{2}}},
	}
	for _, v := range []any{left.Names[0], left.Rules[0], left.Certificates[0]} { // a new field must be given here too
		for i := range reflect.ValueOf(v).NumField() {
			if reflect.ValueOf(v).Field(i).IsZero() {
				t.Errorf("%T: field %s is not tried", v, reflect.TypeOf(v).Field(i).Name)
			}
		}
	}
	b, err := json.Marshal(left)
	if err != nil {
		t.Fatal(err)
	}
	var found will
	if err := json.Unmarshal(b, &found); err != nil || !reflect.DeepEqual(left, found) {
		t.Errorf("%+v became %+v (%v)", left, found, err)
	}
}
