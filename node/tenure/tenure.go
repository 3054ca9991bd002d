// Package tenure decides which Service keeps a cluster address or a node port that more than one Service has. One API server
// gives each of them out once, but two sides of a partition may give out the same, and after the merge both Services are
// there.
//
// All that the decision needs is in the Services themselves, so every server that knows the same Services decides alike.
// One that knows fewer can only take a loser for the holder, never a holder for a loser: who loses against some loses
// against all.
package tenure

import (
	"cmp"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Asset is what one Service at most may have: a cluster address, or a node port. Upstream counts node ports by their number
// alone, whatever the protocol, and takes ports for health checks from the same range.
type Asset struct {
	Addr netip.Addr
	Port int32 // where Addr is not valid
}

func (a Asset) String() string {
	if a.Addr.IsValid() {
		return "cluster address " + a.Addr.String()
	}
	return fmt.Sprintf("node port %d", a.Port)
}

// Value is the asset as the Service has it.
func (a Asset) Value() string {
	if a.Addr.IsValid() {
		return a.Addr.String()
	}
	return fmt.Sprint(a.Port)
}

// Claim is a Service's word that it has an asset.
type Claim struct {
	Asset   Asset
	Service types.NamespacedName
	UID     types.UID
	Since   int64 // when the Service was created, in seconds since 1970
	Asked   bool  // somebody wrote the value into the Service; else it was given out
}

// compare puts first who keeps the asset: who asked for it, then the older Service, then the smaller UID.
func (c Claim) compare(d Claim) int {
	if c.Asked != d.Asked {
		if c.Asked {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(c.Since, d.Since), cmp.Compare(c.UID, d.UID), cmp.Compare(c.Service.String(), d.Service.String()))
}

// Of lists what a Service has, each asset once.
func Of(s *corev1.Service) (out []Claim) {
	all := assets(s)
	if len(all) == 0 {
		return nil
	}
	wanted := asked(s)
	for _, a := range all {
		out = append(out, Claim{Asset: a, Service: named(s), UID: s.UID, Since: s.CreationTimestamp.Unix(), Asked: wanted[a]})
	}
	return out
}

func named(s *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

func assets(s *corev1.Service) (out []Asset) {
	add := func(a Asset) {
		for _, b := range out {
			if a == b {
				return
			}
		}
		out = append(out, a)
	}
	for _, ip := range s.Spec.ClusterIPs { // of a headless one: "None"
		if addr, err := netip.ParseAddr(ip); err == nil {
			add(Asset{Addr: addr})
		}
	}
	for i := range s.Spec.Ports {
		if p := s.Spec.Ports[i].NodePort; p != 0 {
			add(Asset{Port: p})
		}
	}
	if p := s.Spec.HealthCheckNodePort; p != 0 {
		add(Asset{Port: p})
	}
	return out
}

// Replace gives a Service another asset in the place of one that it has, and tells whether it had it.
func Replace(s *corev1.Service, old, other Asset) bool {
	had := false
	for i, ip := range s.Spec.ClusterIPs {
		if old.Addr.IsValid() && ip == old.Addr.String() {
			s.Spec.ClusterIPs[i], had = other.address(), true
		}
	}
	if len(s.Spec.ClusterIPs) > 0 {
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	}
	if old.Addr.IsValid() {
		return had
	}
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i].NodePort; *p == old.Port {
			*p, had = other.Port, true
		}
	}
	if p := &s.Spec.HealthCheckNodePort; *p == old.Port {
		*p, had = other.Port, true
	}
	return had
}

func (a Asset) address() string {
	if !a.Addr.IsValid() {
		return ""
	}
	return a.Addr.String()
}
