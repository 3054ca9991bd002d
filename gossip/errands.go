package gossip

import (
	"math"
	"time"
)

// errands are the peers to reconcile with soon.
type errands struct{ waiting map[ID]bool }

func newErrands() *errands { return &errands{waiting: make(map[ID]bool)} }

func (e *errands) add(id ID) {
	if len(e.waiting) < maxErrands {
		e.waiting[id] = true
	}
}

// next takes out the peer with the shortest round trip, so that a joiner gets the whole store from nearby; "" where nobody
// waits. Those whose round trip is not known come last.
func (e *errands) next(rtt map[ID]time.Duration) ID {
	var best ID
	least := time.Duration(math.MaxInt64)
	for id := range e.waiting {
		d, ok := rtt[id]
		if !ok {
			d = math.MaxInt64
		}
		if best == "" || d < least || d == least && id < best {
			best, least = id, d
		}
	}
	delete(e.waiting, best)
	return best
}
