package gossip

import (
	"sync"
	"time"
)

// rounds knows up to when every member holds every record. After a first round in which this node reconciled with each
// member it holds what each of them had; after a second one each of them holds it too.
type rounds struct {
	mu      sync.Mutex // guards what follows
	last    map[ID]time.Time
	gained  time.Time // everything stamped before it is here …
	at      time.Time // … since this moment
	sealed  time.Time // everything stamped before it is everywhere
	started time.Time
}

// clockSlack is how far a record's stamp may be behind the moment it was written.
const clockSlack = 2 * time.Minute

func newRounds(now time.Time) *rounds {
	return &rounds{last: make(map[ID]time.Time), started: now}
}

// done notes a reconciliation with id that began at start; members are all that may hold or miss records.
func (r *rounds) done(id ID, start time.Time, members []ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[id] = start
	oldest := start
	for _, m := range members {
		t, ok := r.last[m]
		if !ok {
			return
		}
		if t.Before(oldest) {
			oldest = t
		}
	}
	if r.at.IsZero() {
		r.gained, r.at = oldest, start
		return
	}
	if oldest.After(r.at) {
		r.sealed = r.gained.Add(-clockSlack)
		r.gained, r.at = oldest, start
	}
}

// joined voids what was sealed: a member that was not there may lack records.
func (r *rounds) joined(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.last[id]; !ok {
		r.gained, r.at, r.sealed = time.Time{}, time.Time{}, time.Time{}
	}
}

func (r *rounds) seen(before time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.sealed.IsZero() && before.Before(r.sealed)
}

// met tells whether we ever reconciled with id in this life.
func (r *rounds) met(id ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.last[id]
	return ok
}
