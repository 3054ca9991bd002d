package gossip

import "sync"

// rounds knows with whom this node ever reconciled in this life.
type rounds struct {
	mu   sync.Mutex // guards with
	with map[ID]bool
}

func newRounds() *rounds { return &rounds{with: make(map[ID]bool)} }

func (r *rounds) done(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.with[id] = true
}

// any tells whether we ever reconciled with anybody.
func (r *rounds) any() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.with) > 0
}

func (r *rounds) met(id ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.with[id]
}
