package placement

import (
	"math/bits"
	"slices"
)

// digest is a hash for lookups inside one State; it never shows in a Plan. What it finds is compared in full.
type digest uint64

func (d *digest) number(n int64) {
	hi, lo := bits.Mul64(uint64(*d)^uint64(n), 0x9e3779b97f4a7c15)
	*d = digest(hi ^ lo + 0x632be59bd9b4e019)
}

func (d *digest) string(s string) {
	d.number(int64(len(s)))
	for ; len(s) >= 8; s = s[8:] {
		d.number(int64(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56))
	}
	var rest int64
	for i := range len(s) {
		rest = rest<<8 | int64(s[i])
	}
	d.number(rest)
}

func (d *digest) strings(ss []string) {
	d.number(int64(len(ss)))
	for _, s := range ss {
		d.string(s)
	}
}

func (d *digest) labels(ls []Label) {
	d.number(int64(len(ls)))
	for i := range ls {
		d.string(ls[i].Key)
		d.string(ls[i].Value)
	}
}

func (d *digest) requirements(rs []Requirement) {
	d.number(int64(len(rs)))
	for i := range rs {
		d.string(rs[i].Key)
		d.number(int64(rs[i].Op))
		d.strings(rs[i].Values)
	}
}

func (d *digest) terms(ts []Term) {
	d.number(int64(len(ts)))
	for i := range ts {
		d.requirements(ts[i].Fields)
		d.requirements(ts[i].Labels)
	}
}

func (d *digest) weighted(ts []WeightedTerm) {
	d.number(int64(len(ts)))
	for i := range ts {
		d.number(ts[i].Weight)
		d.requirements(ts[i].Fields)
		d.requirements(ts[i].Labels)
	}
}

func (d *digest) tolerations(ts []Toleration) {
	d.number(int64(len(ts)))
	for i := range ts {
		d.string(ts[i].Key)
		d.string(ts[i].Value)
		d.number(int64(ts[i].Effect))
	}
}

func (d *digest) podTerms(ts []PodTerm) {
	d.number(int64(len(ts)))
	for i := range ts {
		d.string(ts[i].Topology)
		d.number(ts[i].Weight)
		d.strings(ts[i].Namespaces)
		d.requirements(ts[i].Match)
	}
}

// demands hashes all that sameDemands compares, or less.
func demands(p *Pod) digest {
	r := &p.Requests
	d := digest(len(r.Extended))
	d.number(r.CPU)
	d.number(r.Memory)
	d.number(r.Disk)
	d.number(r.Pods)
	d.number(int64(p.Priority))
	for i := range r.Extended {
		d.string(r.Extended[i].Name)
		d.number(r.Extended[i].Value)
	}
	for i := range p.Ports {
		d.number(int64(p.Ports[i].Port))
	}
	d.labels(p.Selector)
	d.terms(p.Required)
	d.weighted(p.Preferred)
	d.tolerations(p.Tolerations)
	d.strings(p.Hosts)
	d.podTerms(p.Affinity)
	d.podTerms(p.AntiAffinity)
	d.podTerms(p.PrefersNear)
	d.podTerms(p.PrefersApart)
	for i := range p.Spread {
		d.string(p.Spread[i].Topology)
		d.number(p.Spread[i].MaxSkew)
		d.requirements(p.Spread[i].Match)
	}
	if p.social() {
		d.string(p.Namespace)
	}
	return d
}

// social tells whether the pod's demands are about other pods, and so depend on its namespace.
func (p *Pod) social() bool {
	return len(p.Affinity)+len(p.AntiAffinity)+len(p.PrefersNear)+len(p.PrefersApart)+len(p.Spread) > 0
}

// sameDemands tells whether two pods ask for the same, in the same words.
func sameDemands(a, b *Pod) bool {
	x, y := &a.Requests, &b.Requests
	return a.Priority == b.Priority && a.NeverPreempts == b.NeverPreempts && x.CPU == y.CPU && x.Memory == y.Memory && x.Disk == y.Disk && x.Pods == y.Pods && slices.Equal(x.Extended, y.Extended) &&
		slices.Equal(a.Ports, b.Ports) && sameRules(a, b) && slices.EqualFunc(a.Preferred, b.Preferred, sameWeighted) &&
		samePodTerms(a.Affinity, b.Affinity) && samePodTerms(a.AntiAffinity, b.AntiAffinity) &&
		samePodTerms(a.PrefersNear, b.PrefersNear) && samePodTerms(a.PrefersApart, b.PrefersApart) &&
		slices.EqualFunc(a.Spread, b.Spread, sameSpread) && (a.Namespace == b.Namespace || !a.social())
}

// sameRules compares what a static depends on.
func sameRules(a, b *Pod) bool {
	return slices.Equal(a.Selector, b.Selector) && sameRequired(a.Required, b.Required) && slices.Equal(a.Tolerations, b.Tolerations) && (a.Hosts == nil) == (b.Hosts == nil) && slices.Equal(a.Hosts, b.Hosts)
}

func sameRequired(a, b []Term) bool {
	return (a == nil) == (b == nil) && slices.EqualFunc(a, b, sameTerm)
}

func sameTerm(a, b Term) bool {
	return sameMatch(a.Labels, b.Labels) && sameMatch(a.Fields, b.Fields)
}

func sameWeighted(a, b WeightedTerm) bool { return a.Weight == b.Weight && sameTerm(a.Term, b.Term) }

func sameMatch(a, b []Requirement) bool {
	return slices.EqualFunc(a, b, func(x, y Requirement) bool {
		return x.Key == y.Key && x.Op == y.Op && slices.Equal(x.Values, y.Values)
	})
}

func samePodTerms(a, b []PodTerm) bool {
	return slices.EqualFunc(a, b, func(x, y PodTerm) bool {
		return x.Topology == y.Topology && x.Weight == y.Weight && x.AllNamespaces == y.AllNamespaces &&
			x.MatchNothing == y.MatchNothing && slices.Equal(x.Namespaces, y.Namespaces) && sameMatch(x.Match, y.Match)
	})
}

func sameSpread(a, b Spread) bool {
	return a.Topology == b.Topology && a.MaxSkew == b.MaxSkew && a.Hard == b.Hard && a.MinDomains == b.MinDomains &&
		a.MatchNothing == b.MatchNothing && a.IgnoreAffinity == b.IgnoreAffinity && a.HonorTaints == b.HonorTaints && sameMatch(a.Match, b.Match)
}
