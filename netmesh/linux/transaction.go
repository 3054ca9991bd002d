package linux

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// transaction is a change of our table that happens at once: no packet sees half of it.
type transaction struct {
	drop, renew bool // delete the table first; make it
	dropSets    []*nftables.Set
	newChains   []chain
	rewrite     []chain // to be emptied and filled
	dropChains  []string
	add, del    map[string]map[string]string // set → key → value
}

func (tx *transaction) empty() bool {
	return !tx.renew && len(tx.dropSets)+len(tx.newChains)+len(tx.rewrite)+len(tx.dropChains)+len(tx.add)+len(tx.del) == 0
}

func fingerprints(c chain) []string {
	var out []string
	for _, r := range c.rules {
		out = append(out, fingerprint(r))
	}
	return out
}

func (tx *transaction) compareChains(have map[string]foundChain, want []chain) {
	surplus := maps.Clone(have)
	for _, c := range want {
		h, ok := have[c.name]
		delete(surplus, c.name)
		switch {
		case !ok:
			tx.newChains = append(tx.newChains, c)
		case !slices.Equal(h.rules, fingerprints(c)):
			tx.rewrite = append(tx.rewrite, c)
		}
	}
	tx.dropChains = slices.Sorted(maps.Keys(surplus))
}

// compareElements makes up the difference between the kernel's elements and a Program's.
func (tx *transaction) compareElements(have map[string]map[string]string, want netmesh.Program) {
	surplus := map[string]map[string]string{}
	for name, elements := range have {
		surplus[name] = maps.Clone(elements)
	}
	need := func(e element) {
		if v, ok := surplus[e.set][e.key]; ok && v == e.value {
			delete(surplus[e.set], e.key)
			return
		}
		put(&tx.add, e)
	}
	for i := range want.Frontends {
		elementsOf(&want.Frontends[i], need)
	}
	for _, a := range want.Hairpin {
		need(hairpinElement(a))
	}
	for name, left := range surplus {
		for k, v := range left {
			put(&tx.del, element{name, k, v})
		}
	}
}

// change adds what turns one frontend into another.
func (tx *transaction) change(c netmesh.Change) {
	before := map[element]bool{}
	if c.Old != nil {
		elementsOf(c.Old, func(e element) { before[e] = true })
	}
	if c.New != nil {
		elementsOf(c.New, func(e element) {
			if before[e] {
				delete(before, e)
				return
			}
			put(&tx.add, e)
		})
	}
	for e := range before {
		put(&tx.del, e)
	}
}

func (tx *transaction) hairpin(before, after []netip.Addr) {
	for _, a := range before {
		if _, kept := slices.BinarySearchFunc(after, a, netip.Addr.Compare); !kept {
			put(&tx.del, hairpinElement(a))
		}
	}
	for _, a := range after {
		if _, there := slices.BinarySearchFunc(before, a, netip.Addr.Compare); !there {
			put(&tx.add, hairpinElement(a))
		}
	}
}

func put(m *map[string]map[string]string, e element) {
	if *m == nil {
		*m = map[string]map[string]string{}
	}
	if (*m)[e.set] == nil {
		(*m)[e.set] = map[string]string{}
	}
	(*m)[e.set][e.key] = e.value
}

// perMessage keeps the list of elements below the 64 KiB that a netlink attribute may be long.
const perMessage = 500

// flush sends the transaction. The order matters: chains exist before something leads to them, and nothing leads to
// them any more before they go.
func (t *table) flush(tx *transaction) error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	if tx.drop {
		c.DelTable(t.kernel)
	}
	if tx.renew {
		c.AddTable(t.kernel)
		for _, name := range setNames {
			if err := c.AddSet(newSet(t.kernel, name), nil); err != nil {
				return err
			}
		}
	}
	for _, k := range tx.newChains {
		c.AddChain(t.chain(k))
	}
	if err := t.elements(c.SetDeleteElements, tx.del); err != nil {
		return err
	}
	for _, k := range tx.rewrite {
		c.FlushChain(t.chain(k))
	}
	for _, k := range slices.Concat(tx.newChains, tx.rewrite) {
		for _, r := range k.rules {
			c.AddRule(&nftables.Rule{Table: t.kernel, Chain: t.chain(k), Exprs: r, UserData: userdata.AppendString(nil, userdata.TypeComment, fingerprint(r))})
		}
	}
	if err := t.elements(c.SetAddElements, tx.add); err != nil {
		return err
	}
	for _, name := range tx.dropChains {
		c.FlushChain(&nftables.Chain{Table: t.kernel, Name: name})
	}
	for _, name := range tx.dropChains {
		c.DelChain(&nftables.Chain{Table: t.kernel, Name: name})
	}
	for _, s := range tx.dropSets {
		c.DelSet(&nftables.Set{Table: t.kernel, Name: s.Name})
	}
	return c.Flush()
}

func (t *table) chain(c chain) *nftables.Chain {
	k := &nftables.Chain{Table: t.kernel, Name: c.name, Type: c.kind, Hooknum: c.hook}
	if c.hook != nil {
		k.Priority = &c.priority
	}
	return k
}

func (t *table) elements(send func(*nftables.Set, []nftables.SetElement) error, all map[string]map[string]string) error {
	for _, name := range setNames {
		set := newSet(t.kernel, name)
		batch := make([]nftables.SetElement, 0, min(perMessage, len(all[name])))
		for key, value := range all[name] {
			batch = append(batch, element{name, key, value}.toKernel())
			if len(batch) == perMessage {
				if err := send(set, batch); err != nil {
					return err
				}
				batch = batch[:0]
			}
		}
		if len(batch) > 0 {
			if err := send(set, batch); err != nil {
				return err
			}
		}
	}
	return nil
}
