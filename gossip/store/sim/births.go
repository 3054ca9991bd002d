package sim

import "github.com/orpheus-mesh/orpheus/gossip/store"

// born: no object gets the UID of one that everybody knew to be over.
func (o *oracle) born(w *world, x *op, r *store.Record) {
	if r.Op != store.Put || x.made[r.UID] {
		return
	}
	x.made[r.UID] = true
	if x.w.Base == nil && o.over[r.UID] && !w.plan.leapt {
		w.fail("%s gives %s the UID %s of one that was over", x.author, r.Key, r.UID)
	}
}

// rest notes, while all nodes hold the same, what is over.
func (o *oracle) rest(w *world) {
	alive := map[string]bool{}
	for _, kind := range []string{pods, things, claims} {
		for _, x := range w.nodes[0].r.Objects(kind) {
			alive[x.UID] = true
		}
	}
	for u := range o.buried {
		o.over[u] = !alive[u.String()]
	}
}
