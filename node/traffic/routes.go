package traffic

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/orpheus-mesh/orpheus/ingress"
)

// ClassController is what an IngressClass names to be served by Orpheus.
const ClassController = "orpheus.dev/ingress"

// ClassName is the class that every mesh has.
const ClassName = "orpheus"

// rules gives the routes of all ingresses that are ours, and the backend of those that have a default one.
func (w world) rules(all []*networkingv1.Ingress, ours func(*networkingv1.Ingress) bool) (out []ingress.Rule) {
	for _, ing := range byAge(all) {
		if !ours(ing) {
			continue
		}
		name := key(ing.Namespace, ing.Name)
		if b := ing.Spec.DefaultBackend; b != nil {
			out = append(out, ingress.Rule{Name: name, Path: "/", Match: ingress.Prefix, Backend: w.backend(ing.Namespace, b)})
		}
		for _, r := range ing.Spec.Rules {
			if r.HTTP == nil {
				continue
			}
			for i := range r.HTTP.Paths {
				p := &r.HTTP.Paths[i]
				out = append(out, ingress.Rule{Name: name, Host: r.Host, Path: path(p), Match: match(p), Backend: w.backend(ing.Namespace, &p.Backend)})
			}
		}
	}
	return out
}

// byAge puts the oldest ingress first: of two rules that say the same the first stands.
func byAge(all []*networkingv1.Ingress) []*networkingv1.Ingress {
	return slices.SortedFunc(slices.Values(all), func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(key(a.Namespace, a.Name), key(b.Namespace, b.Name)))
	})
}

func path(p *networkingv1.HTTPIngressPath) string {
	if p.Path == "" {
		return "/"
	}
	return p.Path
}

// match treats ImplementationSpecific as Prefix, as most controllers do.
func match(p *networkingv1.HTTPIngressPath) ingress.Match {
	if deref(p.PathType) == networkingv1.PathTypeExact {
		return ingress.Exact
	}
	return ingress.Prefix
}

func (w world) backend(namespace string, b *networkingv1.IngressBackend) ingress.Backend {
	if b.Service == nil {
		return ingress.Backend{Name: namespace + "/(a resource backend)", Missing: "resource backends are not supported, only services"}
	}
	out := ingress.Backend{Name: backendName(namespace, b.Service), Missing: "there is no such service"}
	for _, s := range w.services {
		if s.Namespace != namespace || s.Name != b.Service.Name {
			continue
		}
		p, ok := servicePort(s, b.Service.Port.Number, b.Service.Port.Name)
		if !ok {
			out.Missing = "the service has no such port; it has " + portList(s)
			return out
		}
		out.Missing, out.Endpoints = "", w.addrPorts(s, p)
	}
	return out
}

// portList names the ports of a service: "80 (http), 9090".
func portList(s *corev1.Service) string {
	var out []string
	for _, p := range s.Spec.Ports {
		port := itoa(p.Port)
		if p.Name != "" {
			port += " (" + p.Name + ")"
		}
		out = append(out, port)
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ", ")
}

func backendName(namespace string, s *networkingv1.IngressServiceBackend) string {
	if s.Port.Name != "" {
		return key(namespace, s.Name) + ":" + s.Port.Name
	}
	return key(namespace, s.Name) + ":" + itoa(s.Port.Number)
}

func (w world) addrPorts(s *corev1.Service, p corev1.ServicePort) (out []netip.AddrPort) {
	for _, e := range w.slices[key(s.Namespace, s.Name)].port(p.Name) {
		out = append(out, e.addr)
	}
	return out
}

// certificates gives the TLS certificates that our ingresses name, each with the hosts that it is for.
func certificates(all []*networkingv1.Ingress, ours func(*networkingv1.Ingress) bool, secret func(namespace, name string) *corev1.Secret) (out []ingress.Certificate) {
	for _, ing := range all {
		if !ours(ing) {
			continue
		}
		for _, t := range ing.Spec.TLS {
			if s := secret(ing.Namespace, t.SecretName); s != nil {
				out = append(out, ingress.Certificate{Name: key(ing.Namespace, t.SecretName), Hosts: t.Hosts, Cert: s.Data[corev1.TLSCertKey], Key: s.Data[corev1.TLSPrivateKeyKey]})
			}
		}
	}
	return out
}
