package traffic

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// endpoint is one address that takes traffic for a port of a service.
type endpoint struct {
	addr     netip.AddrPort
	node     string
	hostname string
}

// backends are a service's endpoint slices, ready to be asked by port name.
type backends []*discoveryv1.EndpointSlice

// port lists the endpoints of the named port: the ready ones, and where none is ready those that still serve while they
// terminate (KEP-1669), sorted by address and without doubles.
func (b backends) port(name string) []endpoint {
	if ready := b.pick(name, isReady); len(ready) > 0 {
		return ready
	}
	return b.pick(name, isServing)
}

func isReady(c discoveryv1.EndpointConditions) bool { return c.Ready == nil || *c.Ready }

func isServing(c discoveryv1.EndpointConditions) bool {
	return c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating
}

func (b backends) pick(name string, fit func(discoveryv1.EndpointConditions) bool) (out []endpoint) {
	for _, s := range b {
		if s.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		port, ok := slicePort(s, name)
		if !ok {
			continue
		}
		for i := range s.Endpoints {
			if fit(s.Endpoints[i].Conditions) {
				out = append(out, addresses(&s.Endpoints[i], port)...)
			}
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.addr.Compare(b.addr) })
	return slices.CompactFunc(out, func(a, b endpoint) bool { return a.addr == b.addr })
}

func slicePort(s *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, p := range s.Ports {
		if deref(p.Name) == name && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, len(s.Ports) == 0 && name == ""
}

func addresses(e *discoveryv1.Endpoint, port uint16) (out []endpoint) {
	for _, a := range e.Addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			out = append(out, endpoint{netip.AddrPortFrom(ip, port), deref(e.NodeName), deref(e.Hostname)})
		}
	}
	return out
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// servicePort finds the port of a service by number or name.
func servicePort(s *corev1.Service, number int32, name string) (corev1.ServicePort, bool) {
	for _, p := range s.Spec.Ports {
		if name != "" && p.Name == name || name == "" && p.Port == number {
			return p, true
		}
	}
	return corev1.ServicePort{}, false
}

func addrs(in []string) (out []netip.Addr) {
	for _, s := range in {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			out = append(out, a)
		}
	}
	return out
}
