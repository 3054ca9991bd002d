package netmesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxEndpoints bounds the endpoints that one host balances over for one address. A service with more is served, from
// each host, by a subset drawn by rendezvous, so that all hosts together still use all of its endpoints.
const MaxEndpoints = 1024

// FrontendKey is what a packet must be addressed to. The zero Addr stands for every address of this host (node ports).
type FrontendKey struct {
	Addr     netip.Addr
	Protocol Protocol
	Port     uint16
}

func (k FrontendKey) String() string {
	host := "*"
	if k.Addr.IsValid() {
		host = k.Addr.String()
	}
	return fmt.Sprintf("%s:%d/%s", host, k.Port, k.Protocol)
}

// Compare orders keys: by address (node ports first), protocol, port.
func (k FrontendKey) Compare(o FrontendKey) int {
	return cmp.Or(k.Addr.Compare(o.Addr), cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(k.Port, o.Port))
}

// Frontend is an address with what it leads to. Without endpoints, connections to it are refused.
type Frontend struct {
	FrontendKey
	Sticky    bool
	Endpoints []netip.AddrPort // sorted, without duplicates, at most MaxEndpoints
	Owner     string           // what asked for it, for people
}

func (f Frontend) equal(o Frontend) bool {
	return f.FrontendKey == o.FrontendKey && f.Sticky == o.Sticky && slices.Equal(f.Endpoints, o.Endpoints)
}

// Program is what one host's data plane must do for services: a pure function of the Picture, so that every path to a
// Picture ends in the same kernel state.
type Program struct {
	Frontends []Frontend   // sorted by key, keys are unique
	Hairpin   []netip.Addr // pods of this host that serve something: they may meet themselves
	Conflicts []string     // two owners of one address: the first in order of name is served
}

// Compile turns a Picture into a Program.
func Compile(p Picture) Program {
	var b builder
	b.reserve(p)
	for i := range p.Services {
		b.service(&p.Services[i], p.Self.ID)
	}
	for i := range p.Pods {
		b.hostPorts(&p.Pods[i])
	}
	return b.finish(p.Self.PodCIDR)
}

type builder struct {
	all []Frontend
}

func (b *builder) reserve(p Picture) {
	n := 0
	for i := range p.Services {
		n += len(p.Services[i].ClusterIPs) + len(p.Services[i].ExternalIPs) + 1
	}
	b.all = make([]Frontend, 0, n)
}

func (b *builder) service(s *ServicePort, self string) {
	var every, local []netip.AddrPort
	if s.LocalOnly || s.InternalLocal {
		local = endpoints(s.Endpoints, self, func(e Endpoint) bool { return e.Local })
	}
	if !s.LocalOnly || !s.InternalLocal {
		every = endpoints(s.Endpoints, self, func(Endpoint) bool { return true })
	}
	inside, outside := every, every
	if s.InternalLocal {
		inside = local
	}
	if s.LocalOnly {
		outside = local
	}
	for _, a := range s.ClusterIPs {
		b.add(FrontendKey{a, s.Protocol, s.Port}, s.Affinity, inside, s.Service)
	}
	for _, a := range s.ExternalIPs {
		b.add(FrontendKey{a, s.Protocol, s.Port}, s.Affinity, outside, s.Service)
	}
	if s.NodePort != 0 {
		b.all = append(b.all, Frontend{FrontendKey{netip.Addr{}, s.Protocol, s.NodePort}, s.Affinity, outside, s.Service})
	}
}

// add takes IPv4 addresses only: the pod network has no other.
func (b *builder) add(k FrontendKey, sticky bool, to []netip.AddrPort, owner string) {
	if k.Addr.Is4() && !k.Addr.IsUnspecified() && k.Port != 0 {
		b.all = append(b.all, Frontend{k, sticky, to, owner})
	}
}

func (b *builder) hostPorts(pod *LocalPod) {
	for _, h := range pod.Ports {
		to := []netip.AddrPort{netip.AddrPortFrom(pod.Addr, h.Container)}
		key := FrontendKey{h.HostIP, h.Protocol, h.Port}
		if !key.Addr.IsValid() || key.Addr.IsUnspecified() {
			key.Addr = netip.Addr{}
		}
		b.all = append(b.all, Frontend{key, false, to, "pod " + pod.UID})
	}
}

func (b *builder) finish(own netip.Prefix) Program {
	slices.SortStableFunc(b.all, func(x, y Frontend) int {
		return cmp.Or(x.FrontendKey.Compare(y.FrontendKey), strings.Compare(x.Owner, y.Owner))
	})
	p := Program{Frontends: b.all[:0]}
	for _, f := range b.all {
		if n := len(p.Frontends); n > 0 && p.Frontends[n-1].FrontendKey == f.FrontendKey {
			p.Conflicts = append(p.Conflicts, fmt.Sprintf("%s is claimed by %s and by %s: the first is served", f.FrontendKey, p.Frontends[n-1].Owner, f.Owner))
			continue
		}
		p.Frontends = append(p.Frontends, f)
		for _, e := range f.Endpoints {
			if own.Contains(e.Addr()) {
				p.Hairpin = append(p.Hairpin, e.Addr())
			}
		}
	}
	slices.SortFunc(p.Hairpin, netip.Addr.Compare)
	p.Hairpin = slices.Compact(p.Hairpin)
	return p
}

// endpoints picks what may be balanced over, in the order that every host and every restart agrees on.
func endpoints(all []Endpoint, self string, want func(Endpoint) bool) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(all))
	for _, e := range all {
		if want(e) && e.Addr.Addr().Is4() && e.Addr.Port() != 0 {
			out = append(out, e.Addr)
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	out = slices.Compact(out)
	if len(out) > MaxEndpoints {
		out = subset(out, self)
	}
	return out
}

// subset draws MaxEndpoints of all by rendezvous with this host: most stay when one endpoint comes or goes.
func subset(all []netip.AddrPort, self string) []netip.AddrPort {
	weight := make(map[netip.AddrPort]uint32, len(all))
	for _, e := range all {
		weight[e] = candidate(self+e.String(), 0)
	}
	out := slices.Clone(all)
	slices.SortFunc(out, func(x, y netip.AddrPort) int { return cmp.Or(cmp.Compare(weight[x], weight[y]), x.Compare(y)) })
	out = out[:MaxEndpoints]
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}
