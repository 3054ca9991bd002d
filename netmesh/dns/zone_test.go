package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func sampleZone() *Zone {
	web := Port{"http", "TCP", 80}
	return NewZone("cluster.local", []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.32.0.0/12")}, []Service{
		{Namespace: "default", Name: "kubernetes", ClusterIPs: []netip.Addr{addr("10.96.0.1")}, Ports: []Port{{"https", "TCP", 443}}},
		{Namespace: "shop", Name: "cart", ClusterIPs: []netip.Addr{addr("10.96.3.4")}, Ports: []Port{web, {"", "UDP", 99}}},
		{Namespace: "shop", Name: "db", Headless: true, Ports: []Port{web}, Endpoints: []Endpoint{
			{addr("10.32.1.2"), "db-0", []Port{{"sql", "TCP", 5432}}}, {addr("10.32.2.3"), "", []Port{{"sql", "TCP", 5432}}}}},
		{Namespace: "shop", Name: "empty", Headless: true},
		{Namespace: "shop", Name: "alias", ExternalName: "cart.shop.svc.cluster.local"},
		{Namespace: "shop", Name: "abroad", ExternalName: "www.example.org"},
		{Namespace: "shop", Name: "loop", ExternalName: "loop.shop.svc.cluster.local"},
	})
}

// text is an answer as a few words: code, then records without their times.
func text(m *dns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		out = append(out, strings.Join(append(f[3:4:4], f[4:]...), " "))
	}
	slices.Sort(out)
	return dns.RcodeToString[m.Rcode] + " " + strings.Join(out, ", ")
}

func TestAnswersFollowTheSpecification(t *testing.T) {
	z := sampleZone()
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"kubernetes.default.svc.cluster.local.", dns.TypeA, "NOERROR A 10.96.0.1"},
		{"CART.shop.SVC.cluster.local.", dns.TypeA, "NOERROR A 10.96.3.4"},
		{"cart.shop.svc.cluster.local.", dns.TypeAAAA, "NOERROR "},
		{"_http._tcp.cart.shop.svc.cluster.local.", dns.TypeSRV, "NOERROR SRV 0 100 80 cart.shop.svc.cluster.local."},
		{"_none._tcp.cart.shop.svc.cluster.local.", dns.TypeSRV, "NXDOMAIN "},
		{"_tcp.cart.shop.svc.cluster.local.", dns.TypeSRV, "NOERROR "},
		{"db.shop.svc.cluster.local.", dns.TypeA, "NOERROR A 10.32.1.2, A 10.32.2.3"},
		{"db-0.db.shop.svc.cluster.local.", dns.TypeA, "NOERROR A 10.32.1.2"},
		{"10-32-2-3.db.shop.svc.cluster.local.", dns.TypeA, "NOERROR A 10.32.2.3"},
		{"_sql._tcp.db.shop.svc.cluster.local.", dns.TypeSRV, "NOERROR SRV 0 50 5432 10-32-2-3.db.shop.svc.cluster.local., SRV 0 50 5432 db-0.db.shop.svc.cluster.local."},
		{"empty.shop.svc.cluster.local.", dns.TypeA, "NOERROR "},
		{"alias.shop.svc.cluster.local.", dns.TypeA, "NOERROR A 10.96.3.4, CNAME cart.shop.svc.cluster.local."},
		{"abroad.shop.svc.cluster.local.", dns.TypeCNAME, "NOERROR CNAME www.example.org."},
		{"10-32-9-9.shop.pod.cluster.local.", dns.TypeA, "NOERROR A 10.32.9.9"},
		{"x.shop.pod.cluster.local.", dns.TypeA, "NXDOMAIN "},
		{"4.3.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR PTR cart.shop.svc.cluster.local."},
		{"2.1.32.10.in-addr.arpa.", dns.TypePTR, "NOERROR PTR db-0.db.shop.svc.cluster.local."},
		{"9.9.32.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN "},
		{"shop.svc.cluster.local.", dns.TypeA, "NOERROR "},
		{"nowhere.svc.cluster.local.", dns.TypeA, "NXDOMAIN "},
		{"google.com.shop.svc.cluster.local.", dns.TypeA, "NXDOMAIN "},
		{"dns-version.cluster.local.", dns.TypeTXT, `NOERROR TXT "1.1.0"`},
		{"cluster.local.", dns.TypeNS, "NOERROR NS ns.dns.cluster.local."},
	} {
		if !z.owns(dns.CanonicalName(c.name)) {
			t.Errorf("%s is not answered by the zone", c.name)
			continue
		}
		m := new(dns.Msg).SetQuestion(c.name, c.qtype)
		reply := new(dns.Msg).SetReply(m)
		z.answer(reply, m.Question[0])
		if got := text(reply); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.name, dns.TypeToString[c.qtype], got, c.want)
		}
		if len(reply.Answer) == 0 && (len(reply.Ns) != 1 || reply.Ns[0].Header().Rrtype != dns.TypeSOA || reply.Ns[0].(*dns.SOA).Minttl != ttl) {
			t.Errorf("%s: that nothing is there must come with an SOA record of %d s", c.name, ttl)
		}
	}
	for _, foreign := range []string{"example.org.", "local.", "8.8.8.8.in-addr.arpa."} {
		if z.owns(foreign) {
			t.Errorf("the zone claims %s", foreign)
		}
	}
}

func TestAliasOfItselfEnds(t *testing.T) {
	m := new(dns.Msg).SetQuestion("loop.shop.svc.cluster.local.", dns.TypeA)
	reply := new(dns.Msg).SetReply(m)
	sampleZone().answer(reply, m.Question[0])
	if len(reply.Answer) > 16 {
		t.Errorf("%d records for an alias of itself", len(reply.Answer))
	}
}

func TestEndpointsComeInRandomOrder(t *testing.T) {
	first := map[string]bool{}
	for range 64 {
		m := new(dns.Msg).SetQuestion("db.shop.svc.cluster.local.", dns.TypeA)
		reply := new(dns.Msg).SetReply(m)
		sampleZone().answer(reply, m.Question[0])
		first[reply.Answer[0].String()] = true
	}
	if len(first) != 2 {
		t.Errorf("64 answers began with %d of 2 endpoints", len(first))
	}
}
