package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Port is a port of a service or endpoint. Protocol is tcp, udp or sctp in any case of letters; ports without a name have no SRV record.
type Port struct {
	Name     string
	Protocol string
	Port     uint16
}

// Endpoint is one pod behind a headless service. Whether one that is not ready belongs here (publishNotReadyAddresses) is for the
// caller to decide.
type Endpoint struct {
	Addr     netip.Addr
	Hostname string // "": named by its address
	Ports    []Port
}

// Service is what the zone needs to know of a service.
type Service struct {
	Namespace, Name string
	ClusterIPs      []netip.Addr
	Headless        bool
	ExternalName    string // an alias of this name; the rest is ignored
	Ports           []Port
	Endpoints       []Endpoint // headless only
}

// Zone is every name of the mesh at one moment. It is safe for any number of readers.
type Zone struct {
	domain  string // "cluster.local."
	reverse []netip.Prefix
	names   map[string]*records // by lower-case full name; empty records: a name that only has names below it
}

type records struct {
	addrs []netip.Addr
	srv   []target
	ptr   []string
	alias string
	text  []string
}

type target struct {
	name string
	port uint16
}

// NewZone compiles a zone. domain is the cluster's, such as cluster.local; addresses in reverse are ours to name, so that
// unknown ones get no name instead of a question to the world.
func NewZone(domain string, reverse []netip.Prefix, services []Service) *Zone {
	z := &Zone{domain: dns.CanonicalName(domain), reverse: reverse, names: make(map[string]*records, 2*len(services)+8)}
	z.at("svc." + z.domain)
	z.at("pod." + z.domain)
	version := z.at("dns-version." + z.domain)
	version.text = []string{"1.1.0"}
	for i := range services {
		z.service(&services[i])
	}
	return z
}

// at finds or makes a name, and the empty names above it that it needs in order to be found.
func (z *Zone) at(name string) *records {
	name = strings.ToLower(name)
	if r, ok := z.names[name]; ok {
		return r
	}
	r := &records{}
	z.names[name] = r
	if _, above, ok := strings.Cut(name, "."); ok && name != z.domain && above != "" && (dns.IsSubDomain(z.domain, above)) {
		z.at(above)
	}
	return r
}

func (z *Zone) service(s *Service) {
	name := strings.ToLower(s.Name + "." + s.Namespace + ".svc." + z.domain)
	r := z.at(name)
	switch {
	case s.ExternalName != "":
		r.alias = dns.CanonicalName(s.ExternalName)
	case s.Headless:
		z.headless(s, name, r)
	default:
		for _, a := range s.ClusterIPs {
			if a.Is4() {
				r.addrs = append(r.addrs, a)
				z.point(a, name)
			}
		}
		for _, p := range s.Ports {
			z.offer(name, r, p, target{name, p.Port})
		}
	}
}

func (z *Zone) headless(s *Service, name string, r *records) {
	for _, e := range s.Endpoints {
		if !e.Addr.Is4() {
			continue
		}
		r.addrs = append(r.addrs, e.Addr)
		host := e.Hostname
		if host == "" {
			host = strings.ReplaceAll(e.Addr.String(), ".", "-")
		}
		own := strings.ToLower(host) + "." + name
		pod := z.at(own)
		pod.addrs = append(pod.addrs, e.Addr)
		z.point(e.Addr, own)
		for _, p := range e.Ports {
			z.offer(name, r, p, target{own, p.Port})
		}
	}
}

// offer adds an SRV target, below _port._protocol and for the service as a whole.
func (z *Zone) offer(name string, service *records, p Port, t target) {
	if p.Name == "" {
		return
	}
	r := z.at("_" + p.Name + "._" + p.Protocol + "." + name)
	r.srv = append(r.srv, t)
	service.srv = append(service.srv, t)
}

func (z *Zone) point(a netip.Addr, name string) {
	back, err := dns.ReverseAddr(a.String())
	if err != nil {
		return
	}
	r := z.names[back]
	if r == nil {
		r = &records{}
		z.names[back] = r
	}
	r.ptr = append(r.ptr, name)
}

// owns says whether the zone alone may answer for a name.
func (z *Zone) owns(name string) bool {
	if dns.IsSubDomain(z.domain, name) {
		return true
	}
	a, ok := reverseAddr(name)
	if !ok {
		return false
	}
	if _, known := z.names[name]; known {
		return true
	}
	for _, p := range z.reverse {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// find looks a lower-case name up. Names of pods are computed: a-b-c-d.namespace.pod.domain.
func (z *Zone) find(name string) (*records, bool) {
	if r, ok := z.names[name]; ok {
		return r, true
	}
	if rest, ok := strings.CutSuffix(name, ".pod."+z.domain); ok {
		labels := strings.Split(rest, ".")
		if len(labels) == 1 {
			return &records{}, true // a namespace
		}
		if a, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", ".")); len(labels) == 2 && err == nil && a.Is4() {
			return &records{addrs: []netip.Addr{a}}, true
		}
	}
	return nil, false
}

func reverseAddr(name string) (netip.Addr, bool) {
	rest, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	l := strings.Split(rest, ".")
	if !ok || len(l) != 4 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(l[3] + "." + l[2] + "." + l[1] + "." + l[0])
	return a, err == nil
}
