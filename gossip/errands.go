package gossip

import (
	"math"
	"time"
)

// errands are the peers to reconcile with soon.
type errands struct {
	waiting map[ID]bool
	failed  map[ID]int // how often, since the last one that was complete
}

func newErrands() *errands { return &errands{waiting: make(map[ID]bool), failed: make(map[ID]int)} }

func (e *errands) add(id ID) {
	if len(e.waiting) < maxErrands {
		e.waiting[id] = true
	}
}

// ended notes how one went.
func (e *errands) ended(id ID, err error) {
	if err == nil {
		delete(e.failed, id)
	} else if len(e.failed) < maxErrands || e.failed[id] > 0 {
		e.failed[id]++
	}
}

// next takes out the peer with the shortest round trip of those that failed least, so that a joiner gets the whole store from nearby,
// and from the next one where that is busy; "" where nobody waits. Those whose round trip is not known come last.
func (e *errands) next(rtt map[ID]time.Duration) ID {
	var best ID
	least := time.Duration(math.MaxInt64)
	for id := range e.waiting {
		d, ok := rtt[id]
		if !ok {
			d = math.MaxInt64
		}
		more := e.failed[id] - e.failed[best]
		if best == "" || more < 0 || more == 0 && (d < least || d == least && id < best) {
			best, least = id, d
		}
	}
	delete(e.waiting, best)
	return best
}

// surveyed tells whether one may choose the nearest of the known peers: the round trips of all that are not gone are known.
func surveyed(peers []known, rtt map[ID]time.Duration) bool {
	for _, k := range peers {
		if _, ok := rtt[k.ID]; !ok && !k.Left && !k.Lost {
			return false
		}
	}
	return true
}
