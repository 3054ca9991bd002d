package tenure

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Ledger holds what all Services have. The zero value is empty. It is for one goroutine at a time.
type Ledger struct {
	has map[types.NamespacedName][]Claim
	of  map[Asset][]Claim // the holder first
}

// Set enters what a Service has now, nothing for one that is gone, and returns the assets concerned.
func (l *Ledger) Set(service types.NamespacedName, now []Claim) (touched []Asset) {
	if l.of == nil {
		l.has, l.of = map[types.NamespacedName][]Claim{}, map[Asset][]Claim{}
	}
	for _, c := range l.has[service] {
		left := slices.DeleteFunc(slices.Clone(l.of[c.Asset]), func(d Claim) bool { return d.Service == service })
		if l.of[c.Asset] = left; len(left) == 0 {
			delete(l.of, c.Asset)
		}
		touched = append(touched, c.Asset)
	}
	for _, c := range now {
		all := append(slices.Clone(l.of[c.Asset]), c)
		slices.SortFunc(all, Claim.compare)
		l.of[c.Asset] = all
		touched = append(touched, c.Asset)
	}
	if l.has[service] = now; len(now) == 0 {
		delete(l.has, service)
	}
	return touched
}

// Claims lists who has an asset, the holder first.
func (l *Ledger) Claims(a Asset) []Claim { return l.of[a] }

// Assets lists what any Service has, in no order.
func (l *Ledger) Assets() []Asset {
	out := make([]Asset, 0, len(l.of))
	for a := range l.of {
		out = append(out, a)
	}
	return out
}

// Dispute is an asset that two people asked for. A machine does not write over what a person asked for: the loser goes
// without it until a person decides.
type Dispute struct{ Holder, Loser Claim }

// Disputes lists what waits for a person, in no order.
func (l *Ledger) Disputes() (out []Dispute) {
	for _, all := range l.of {
		for _, c := range all[1:] {
			if c.Asked {
				out = append(out, Dispute{all[0], c})
			}
		}
	}
	return out
}

// Settled shows Services without what another one keeps, for whoever serves their traffic. Those are copies; all others are
// the ones given.
func Settled(all []*corev1.Service) []*corev1.Service {
	first, contested := map[Asset]*corev1.Service{}, map[Asset]bool{}
	for _, s := range all {
		for _, a := range assets(s) {
			if o := first[a]; o == nil {
				first[a] = s
			} else {
				contested[a] = true
			}
		}
	}
	if len(contested) == 0 {
		return all
	}
	var l Ledger
	for _, s := range all {
		if slices.ContainsFunc(assets(s), func(a Asset) bool { return contested[a] }) {
			l.Set(named(s), Of(s))
		}
	}
	out := slices.Clone(all)
	for i, s := range all {
		for _, a := range assets(s) {
			if contested[a] && l.Claims(a)[0].Service != named(s) {
				if out[i] == s {
					out[i] = s.DeepCopy()
				}
				Replace(out[i], a, Asset{})
			}
		}
	}
	return out
}
