package sim

import (
	"fmt"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// calm counts in one object, from all nodes, without any fault: homes serialise, so every acknowledged increment counts.
func (w *world) calm() {
	k := store.Key{Kind: things, Namespace: "calm", Name: "counter"}
	acked, tried := 0, 0
	w.until(w.now+4*time.Second, nil) // until all name the same homes
	for range 12 {
		n := w.any()
		cur := n.object(k)
		value := 0
		if cur != nil {
			value = w.count(cur)
		}
		id := w.id()
		in, err := n.r.Admit(id, store.Write{Key: k, Base: cur, Body: fmt.Appendf(nil, "c%d", value+1)})
		if err != nil {
			w.fail("%s is not well in calm times: %v", n.name, err)
		}
		tried++
		n.ask(id, in, func(r *store.Reply) {
			if r.Err == nil {
				acked++
			}
		})
		w.until(w.now+w.between(0, 3*w.plan.latency), nil)
	}
	w.agree(w.nodes)
	value := 0
	if cur := w.nodes[0].object(k); cur != nil {
		value = w.count(cur)
	}
	if value != acked || acked == 0 {
		w.fail("of %d increments in calm times %d were acknowledged, and the counter says %d", tried, acked, value)
	}
}

// count reads the counter.
func (w *world) count(o *store.Object) (value int) {
	if _, err := fmt.Sscanf(string(o.Bodies[store.Intent]), "c%d", &value); err != nil {
		w.fail("the counter reads %q: %v", o.Bodies[store.Intent], err)
	}
	return value
}
