package replica

import "github.com/orpheus-mesh/orpheus/gossip/store"

// Over makes the replicated store the Store of a Replica.
func Over(s *store.Store) Store { return over{s} }

type over struct{ *store.Store }

// Subscribe implements Store.
func (o over) Subscribe(sel store.Selector, from store.Revision, snapshot bool) (Subscription, error) {
	sub, err := o.Store.Subscribe(sel, from, snapshot)
	if err != nil {
		return Subscription{}, err
	}
	initial := sub.Initial
	sub.Initial = nil // the subscription outlives its snapshot by far
	return Subscription{Initial: initial, Rev: sub.Rev, Events: sub}, nil
}
