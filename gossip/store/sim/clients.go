package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

const claims = "core/claims"

// client is one person or controller who reads an object on some node and writes on top of what it read.
func (w *world) client() {
	n := w.any()
	if !n.up || n.fresh {
		return
	}
	if w.chance(10) {
		w.claim(n)
		return
	}
	w.edit(n, w.key())
}

// edit reads one object on a node and writes on top of it.
func (w *world) edit(n *node, k store.Key) {
	cur := n.object(k)
	wr := store.Write{Key: k, Base: cur, Human: w.chance(2)}
	spec := len(w.oracle.ops)
	if cur != nil {
		wr.Head = store.Head{Generation: cur.Head.Generation, Removed: slices.Clone(cur.Head.Removed)}
		switch p := w.rnd.IntN(100); {
		case p < 14:
			wr.Op = store.Delete
		case p < 24:
			wr.Part = store.Status
		case p < 29:
			wr.Head.DeletionTime, wr.Head.DeletionGrace = int64(1+w.rnd.IntN(1000)), int64(w.rnd.IntN(60))
		case p < 36:
			f := fmt.Sprintf("f/%d", w.rnd.IntN(4))
			if !slices.Contains(wr.Head.Removed, f) {
				wr.Head.Removed = append(wr.Head.Removed, f)
				slices.Sort(wr.Head.Removed)
			}
		}
		if old := w.oracle.bodies[string(cur.Bodies[store.Intent])]; old != nil && w.chance(3) {
			spec = old.spec // metadata only
		} else {
			wr.Head.Generation++
		}
	} else {
		wr.Head.Generation = 1
		wr.Generated = w.chance(8)
	}
	if wr.Op == store.Put {
		wr.Body = w.body(spec)
	}
	w.write(n, wr, spec)
}

// claim takes an address for a service, or lets it go.
func (w *world) claim(n *node) {
	wr := store.Write{Key: store.Key{Kind: claims, Name: fmt.Sprint("10.96.0.", w.rnd.IntN(3))}, Claim: true}
	if wr.Base = n.object(wr.Key); wr.Base != nil && w.chance(2) {
		wr.Op = store.Delete
	} else {
		wr.Body = w.body(len(w.oracle.ops))
	}
	if wr.Base != nil {
		wr.Head.Generation = wr.Base.Head.Generation + 1
	}
	w.write(n, wr, len(w.oracle.ops))
}

func (w *world) body(spec int) []byte {
	pad := w.rnd.IntN(100)
	if w.chance(150) {
		pad = 70 << 10 // too large for gossip
	}
	return fmt.Appendf(nil, "w%d s%d %s", len(w.oracle.ops), spec, strings.Repeat(".", pad))
}

func (w *world) key() store.Key {
	i := w.rnd.IntN(w.plan.keys)
	switch {
	case w.chance(12):
		return store.Key{Kind: events, Namespace: "ns", Name: fmt.Sprint("e", w.rnd.IntN(40))}
	case i%3 == 0:
		return store.Key{Kind: things, Namespace: "ns", Name: fmt.Sprint("t", i)}
	}
	return store.Key{Kind: pods, Namespace: "ns", Name: fmt.Sprint("p", i)}
}

func (n *node) object(k store.Key) *store.Object {
	o, _ := n.r.Get(k)
	return o
}

func (w *world) write(n *node, wr store.Write, spec int) {
	x := w.oracle.asked(n, wr, spec)
	who := "machine"
	if wr.Human {
		who = "person"
	}
	w.tell("%s: %s w%d %s part %d %s on %s", n.name, who, x.id, wr.Op, wr.Part, wr.Key, describe(wr.Base))
	id := w.id()
	in, err := n.r.Admit(id, wr)
	if err != nil {
		x.closed = true
		w.tell("%s refuses w%d: %v", n.name, x.id, err)
		return
	}
	n.asking[id] = x
	n.ask(id, in, func(r *store.Reply) { w.oracle.replied(w, x, r) })
}
