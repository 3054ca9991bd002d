package traffic

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/netmesh/dns"
)

// world is what the API says at one moment.
type world struct {
	node     string // this server's node name
	services []*corev1.Service
	slices   map[string]backends // by namespace/service
}

func key(namespace, name string) string { return namespace + "/" + name }

// bySlice groups endpoint slices by their service.
func bySlice(all []*discoveryv1.EndpointSlice) map[string]backends {
	out := map[string]backends{}
	for _, s := range all {
		if svc := s.Labels[discoveryv1.LabelServiceName]; svc != "" {
			out[key(s.Namespace, svc)] = append(out[key(s.Namespace, svc)], s)
		}
	}
	return out
}

// underived names a service whose endpoint slices have not been derived yet, "" where there is none: the controller makes one
// even for a service without endpoints.
func (w world) underived() string {
	for _, s := range w.services {
		if len(s.Spec.Selector) > 0 && s.Spec.Type != corev1.ServiceTypeExternalName && w.slices[key(s.Namespace, s.Name)] == nil {
			return key(s.Namespace, s.Name)
		}
	}
	return ""
}

// ports gives every port of every service that is neither headless nor a mere name.
func (w world) ports() (out []netmesh.ServicePort) {
	for _, s := range w.services {
		if s.Spec.ClusterIP == corev1.ClusterIPNone || s.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		ips := addrs(s.Spec.ClusterIPs)
		for _, p := range s.Spec.Ports {
			proto, ok := protocol(p.Protocol)
			if !ok {
				continue
			}
			out = append(out, netmesh.ServicePort{
				Service: key(s.Namespace, s.Name), Name: p.Name, Protocol: proto,
				ClusterIPs: ips, ExternalIPs: addrs(s.Spec.ExternalIPs), Port: uint16(p.Port), NodePort: uint16(p.NodePort),
				Endpoints:     w.endpoints(s, p.Name),
				Affinity:      s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP,
				LocalOnly:     s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
				InternalLocal: deref(s.Spec.InternalTrafficPolicy) == corev1.ServiceInternalTrafficPolicyLocal,
			})
		}
	}
	slices.SortFunc(out, func(a, b netmesh.ServicePort) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port))
	})
	return out
}

func (w world) endpoints(s *corev1.Service, port string) (out []netmesh.Endpoint) {
	for _, e := range w.slices[key(s.Namespace, s.Name)].port(port) {
		out = append(out, netmesh.Endpoint{Addr: e.addr, Local: e.node == w.node})
	}
	return out
}

func protocol(p corev1.Protocol) (netmesh.Protocol, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return netmesh.TCP, true
	case corev1.ProtocolUDP:
		return netmesh.UDP, true
	case corev1.ProtocolSCTP:
		return netmesh.SCTP, true
	}
	return 0, false
}

// names gives what the DNS server answers from.
func (w world) names() (out []dns.Service) {
	for _, s := range w.services {
		d := dns.Service{Namespace: s.Namespace, Name: s.Name}
		switch {
		case s.Spec.Type == corev1.ServiceTypeExternalName:
			d.ExternalName = s.Spec.ExternalName
		case s.Spec.ClusterIP == corev1.ClusterIPNone:
			d.Headless = true
			d.Endpoints = w.members(s)
		default:
			d.ClusterIPs = addrs(s.Spec.ClusterIPs)
		}
		for _, p := range s.Spec.Ports {
			d.Ports = append(d.Ports, dns.Port{Name: p.Name, Protocol: string(p.Protocol), Port: uint16(p.Port)})
		}
		out = append(out, d)
	}
	return out
}

// members are the pods of a headless service, each once, with the ports that it answers on.
func (w world) members(s *corev1.Service) (out []dns.Endpoint) {
	at := map[netip.Addr]int{}
	for _, slice := range w.slices[key(s.Namespace, s.Name)] {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if !isReady(e.Conditions) {
				continue
			}
			for _, a := range addresses(e, 0) {
				n, seen := at[a.addr.Addr()]
				if !seen {
					n, at[a.addr.Addr()] = len(out), len(out)
					out = append(out, dns.Endpoint{Addr: a.addr.Addr(), Hostname: a.hostname})
				}
				for _, p := range slice.Ports {
					out[n].Ports = append(out[n].Ports, dns.Port{Name: deref(p.Name), Protocol: string(deref(p.Protocol)), Port: uint16(deref(p.Port))})
				}
			}
		}
	}
	return out
}
