package netmesh

import (
	"fmt"
	"math/rand"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func ep(s string, local bool) Endpoint { return Endpoint{netip.MustParseAddrPort(s), local} }

func picture(s ...ServicePort) Picture {
	return Picture{Self: Node{ID: "self", PodCIDR: CIDR(podNetwork, 24, 1)}, ClusterCIDR: podNetwork, ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), Services: s}
}

// say is a Program in words.
func say(p Program) string {
	var out []string
	for _, f := range p.Frontends {
		line := f.FrontendKey.String() + " →"
		for _, e := range f.Endpoints {
			line += " " + e.String()
		}
		if f.Sticky {
			line += " sticky"
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestCompile(t *testing.T) {
	near, far := ep("10.32.1.5:8080", true), ep("10.32.2.6:8080", false)
	ip := []netip.Addr{netip.MustParseAddr("10.96.0.9"), netip.MustParseAddr("fd00::9")}
	base := ServicePort{Service: "a/web", ClusterIPs: ip, Protocol: TCP, Port: 80, Endpoints: []Endpoint{far, near, near}}
	with := func(f func(*ServicePort)) ServicePort { s := base; f(&s); return s }
	for _, c := range []struct {
		name string
		s    ServicePort
		want string
	}{
		{"plain", base, "10.96.0.9:80/tcp → 10.32.1.5:8080 10.32.2.6:8080"},
		{"node port", with(func(s *ServicePort) { s.NodePort = 30000 }), "*:30000/tcp → 10.32.1.5:8080 10.32.2.6:8080\n10.96.0.9:80/tcp → 10.32.1.5:8080 10.32.2.6:8080"},
		{"external local", with(func(s *ServicePort) { s.NodePort, s.LocalOnly = 30000, true }), "*:30000/tcp → 10.32.1.5:8080\n10.96.0.9:80/tcp → 10.32.1.5:8080 10.32.2.6:8080"},
		{"internal local", with(func(s *ServicePort) { s.NodePort, s.InternalLocal = 30000, true }), "*:30000/tcp → 10.32.1.5:8080 10.32.2.6:8080\n10.96.0.9:80/tcp → 10.32.1.5:8080"},
		{"nobody", with(func(s *ServicePort) { s.Endpoints = nil; s.Affinity = true }), "10.96.0.9:80/tcp → sticky"},
		{"external address", with(func(s *ServicePort) {
			s.ExternalIPs, s.LocalOnly, s.Endpoints = []netip.Addr{netip.MustParseAddr("192.0.2.1")}, true, []Endpoint{far}
		}), "10.96.0.9:80/tcp → 10.32.2.6:8080\n192.0.2.1:80/tcp →"},
	} {
		if got := say(Compile(picture(c.s))); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
	p := Compile(picture(base))
	if len(p.Hairpin) != 1 || p.Hairpin[0] != near.Addr.Addr() {
		t.Errorf("hairpin %v: want the one local pod", p.Hairpin)
	}
	other := with(func(s *ServicePort) { s.Service, s.Endpoints = "b/thief", []Endpoint{far} })
	p = Compile(picture(other, base))
	if len(p.Frontends) != 1 || p.Frontends[0].Owner != "a/web" || len(p.Conflicts) != 1 || !strings.Contains(p.Conflicts[0], "b/thief") {
		t.Errorf("two services with one address: %+v: want the first by name, and the conflict told", p)
	}
}

func TestHostPorts(t *testing.T) {
	pic := picture()
	pic.Pods = []LocalPod{{UID: "u", Addr: netip.MustParseAddr("10.32.1.7"), Ports: []HostPort{{TCP, netip.Addr{}, 80, 8080}, {UDP, netip.MustParseAddr("192.0.2.3"), 53, 53}}}}
	if got, want := say(Compile(pic)), "*:80/tcp → 10.32.1.7:8080\n192.0.2.3:53/udp → 10.32.1.7:53"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestManyEndpointsAreASubsetThatHardlyMoves(t *testing.T) {
	s := ServicePort{Service: "a/big", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.9")}, Protocol: TCP, Port: 80}
	for i := range 3000 {
		s.Endpoints = append(s.Endpoints, Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 33, byte(i >> 8), byte(i)}), 80)})
	}
	before := Compile(picture(s)).Frontends[0].Endpoints
	s.Endpoints = s.Endpoints[1:]
	after := Compile(picture(s)).Frontends[0].Endpoints
	kept := map[netip.AddrPort]bool{}
	for _, e := range before {
		kept[e] = true
	}
	fresh := 0
	for _, e := range after {
		if !kept[e] {
			fresh++
		}
	}
	if len(before) != MaxEndpoints || len(after) != MaxEndpoints || fresh > 1 {
		t.Errorf("%d, then %d endpoints, %d of them new; want %d and one at most", len(before), len(after), fresh, MaxEndpoints)
	}
}

// TestProgramsDoNotDependOnOrder shuffles what the picture lists, and applies a Diff to check that it is complete.
func TestProgramsDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) Picture {
			var s []ServicePort
			for i := range rapid.IntRange(0, 8).Draw(t, label) {
				one := ServicePort{Service: fmt.Sprint("n/", i), ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(rapid.IntRange(1, 9).Draw(t, "ip"))})},
					Protocol: rapid.SampledFrom([]Protocol{TCP, UDP}).Draw(t, "protocol"), Port: 80, NodePort: uint16(rapid.SampledFrom([]int{0, 30000, 30001}).Draw(t, "node port")), LocalOnly: rapid.Bool().Draw(t, "local only")}
				for range rapid.IntRange(0, 4).Draw(t, "endpoints") {
					a := netip.AddrFrom4([4]byte{10, 32, byte(rapid.IntRange(1, 2).Draw(t, "host")), byte(rapid.IntRange(2, 5).Draw(t, "pod"))})
					one.Endpoints = append(one.Endpoints, Endpoint{netip.AddrPortFrom(a, 80), CIDR(podNetwork, 24, 1).Contains(a)})
				}
				s = append(s, one)
			}
			return picture(s...)
		}
		a, b := draw("before"), draw("after")
		pa, pb := Compile(a), Compile(b)
		rnd := rand.New(rand.NewSource(int64(rapid.Int().Draw(t, "seed"))))
		rnd.Shuffle(len(a.Services), func(i, j int) { a.Services[i], a.Services[j] = a.Services[j], a.Services[i] })
		for _, s := range a.Services {
			rnd.Shuffle(len(s.Endpoints), func(i, j int) { s.Endpoints[i], s.Endpoints[j] = s.Endpoints[j], s.Endpoints[i] })
		}
		if again := Compile(a); say(again) != say(pa) || !reflect.DeepEqual(again.Hairpin, pa.Hairpin) {
			t.Fatalf("order matters:\n%s\n\n%s", say(pa), say(again))
		}
		state := map[FrontendKey]string{}
		for _, f := range pa.Frontends {
			state[f.FrontendKey] = say(Program{Frontends: []Frontend{f}})
		}
		gone := WithdrawnUDP(Diff(pa, pb))
		for _, c := range Diff(pa, pb) {
			if c.New == nil {
				delete(state, c.Old.FrontendKey)
			} else {
				state[c.New.FrontendKey] = say(Program{Frontends: []Frontend{*c.New}})
			}
		}
		if len(state) != len(pb.Frontends) {
			t.Fatalf("%d frontends after the difference, want %d", len(state), len(pb.Frontends))
		}
		for _, f := range pb.Frontends {
			if state[f.FrontendKey] != say(Program{Frontends: []Frontend{f}}) {
				t.Fatalf("%s was not carried over", f.FrontendKey)
			}
			for _, g := range gone {
				if g.Frontend == f.FrontendKey && strings.Contains(state[f.FrontendKey], " "+g.Endpoint.String()) {
					t.Fatalf("%v is called withdrawn and still serves", g)
				}
			}
		}
	})
}

func TestPictureIsCheckedAtTheDoor(t *testing.T) {
	ok := picture()
	if err := ok.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spoil func(*Picture)
		want  string
	}{
		{func(p *Picture) { p.ClusterCIDR = netip.Prefix{} }, "cluster CIDR"},
		{func(p *Picture) { p.ServiceCIDR = netip.MustParsePrefix("10.40.0.0/16") }, "overlaps"},
		{func(p *Picture) { p.Self.PodCIDR = netip.Prefix{} }, "no slot"},
		{func(p *Picture) { p.Self.PodCIDR = netip.MustParsePrefix("10.64.0.0/24") }, "does not lie"},
	} {
		p := ok
		c.spoil(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want it to tell of %q", err, c.want)
		}
	}
}
