package linux

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// table keeps our nftables table as wanted. One goroutine uses it.
//
// What has been applied is remembered together with nftables' generation number; as long as that number is ours, a change is the difference
// of two Programs. When somebody else has moved it, or at the start, the kernel's table is read and the difference to that is made up.
type table struct {
	netNS  int
	kernel *nftables.Table
	conn   *nftables.Conn
	asker  *netlink.Conn // for what the library can't ask

	applied    *wanted // nil: unknown
	generated  uint32
	rebuilt    int // times that the whole table was made anew
	reconciled int // times that it was read and compared
}

// wanted is all that the table depends on.
type wanted struct {
	cluster, service, own netip.Prefix
	program               netmesh.Program
	chains                []chain
	extra                 map[balancer]int // frontends that need a balancer beyond the static ones
}

func newTable(netNS int) *table {
	return &table{netNS: netNS, kernel: &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}}
}

func (t *table) close() { t.hangUp() }

// moved tells whether somebody else has changed any rule of the host since we last looked.
func (t *table) moved() (bool, error) {
	g, err := t.generation()
	return err == nil && g != t.generated, err
}

// set makes the kernel do p, and says what that took from UDP frontends.
func (t *table) set(p netmesh.Picture, program netmesh.Program) ([]netmesh.Withdrawn, error) {
	w := t.want(p, program)
	if t.applied != nil {
		if moved, err := t.moved(); err != nil || moved {
			t.applied = nil
		}
	}
	if t.applied != nil {
		if gone, err := t.step(w); err == nil {
			return gone, nil
		}
		t.applied = nil // somebody interfered just now: look
	}
	return t.reconcile(w)
}

func (t *table) want(p netmesh.Picture, program netmesh.Program) *wanted {
	w := &wanted{cluster: p.ClusterCIDR, service: p.ServiceCIDR, own: p.Self.PodCIDR, program: program, extra: map[balancer]int{}}
	for i := range program.Frontends {
		if f := &program.Frontends[i]; len(f.Endpoints) > staticCounts {
			w.extra[balancerOf(f)]++
		}
	}
	if a := t.applied; a != nil && a.cluster == w.cluster && a.service == w.service && a.own == w.own && sameKeys(a.extra, w.extra) {
		w.chains = a.chains
	} else {
		w.chains = skeleton(w.cluster, w.service, w.own, w.extra)
	}
	return w
}

func sameKeys(a, b map[balancer]int) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if _, ok := b[k]; !ok {
			return false
		}
	}
	return true
}

// step goes from what was applied to w.
func (t *table) step(w *wanted) ([]netmesh.Withdrawn, error) {
	changes := netmesh.Diff(t.applied.program, w.program)
	var tx transaction
	if &t.applied.chains[0] != &w.chains[0] {
		before := map[string]foundChain{}
		for _, c := range t.applied.chains {
			before[c.name] = foundChain{rules: fingerprints(c)}
		}
		tx.compareChains(before, w.chains)
	}
	for _, c := range changes {
		tx.change(c)
	}
	tx.hairpin(t.applied.program.Hairpin, w.program.Hairpin)
	if err := t.commit(&tx, w); err != nil {
		return nil, err
	}
	return netmesh.WithdrawnUDP(changes), nil
}

// reconcile goes from what the kernel has to w.
func (t *table) reconcile(w *wanted) ([]netmesh.Withdrawn, error) {
	f, generation, err := t.read()
	if err != nil {
		return nil, err
	}
	t.generated = generation
	t.reconciled++
	var tx transaction
	if !f.exists || !f.complete || !baseChainsMatch(f.chains, w.chains) {
		t.rebuilt++
		tx.renew = true
		tx.drop = f.exists
		tx.compareChains(nil, w.chains)
		tx.compareElements(nil, w.program)
	} else {
		tx.dropSets = f.foreign
		tx.compareChains(f.chains, w.chains)
		tx.compareElements(f.sets, w.program)
	}
	if err := t.commit(&tx, w); err != nil {
		return nil, err
	}
	return netmesh.WithdrawnUDP(netmesh.Diff(servedUDP(f.sets[setEndpoints]), w.program)), nil
}

func (t *table) commit(tx *transaction, w *wanted) error {
	if !tx.empty() {
		if err := t.flush(tx); err != nil {
			t.hangUp()
			return fmt.Errorf("change table %s: %w", tableName, err)
		}
		if g, err := t.generation(); err == nil && g == t.generated+1 {
			t.generated = g
		} // else somebody came in between: the number stays behind and the next look finds out
	}
	t.applied = w
	return nil
}

// baseChainsMatch says whether the chains that are hooked into the stack are the wanted ones, in their wanted places; a
// chain can't be moved, so that else the table must be made anew. The marker of the layout counts as one.
func baseChainsMatch(have map[string]foundChain, want []chain) bool {
	for _, c := range want {
		h, ok := have[c.name]
		if c.hook == nil {
			if c.name == want[0].name && !ok {
				return false
			}
			if ok && h.spec.Hooknum != nil {
				return false
			}
			continue
		}
		if ok && (h.spec.Hooknum == nil || *h.spec.Hooknum != *c.hook || *h.spec.Priority != c.priority || h.spec.Type != c.kind) {
			return false
		}
	}
	return true
}

// servedUDP is what the kernel's endpoint map says of UDP frontends.
func servedUDP(endpoints map[string]string) netmesh.Program {
	by := map[netmesh.FrontendKey][]netip.AddrPort{}
	for k, v := range endpoints {
		if key := decodeKey(k); key.Protocol == netmesh.UDP {
			by[key] = append(by[key], decodeEndpoint(v))
		}
	}
	var p netmesh.Program
	for k, e := range by {
		p.Frontends = append(p.Frontends, netmesh.Frontend{FrontendKey: k, Endpoints: e})
	}
	slices.SortFunc(p.Frontends, func(a, b netmesh.Frontend) int { return a.Compare(b.FrontendKey) })
	return p
}
