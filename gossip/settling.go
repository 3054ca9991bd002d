package gossip

import (
	"sync"
	"time"
)

// settleSpan bounds how long a regained member that does not reconcile keeps us from destructive decisions.
const settleSpan = 30 * time.Second

// settling holds the regained members with which we have not reconciled yet.
type settling struct {
	mu      sync.Mutex // guards waiting
	waiting map[ID]time.Time
}

func newSettling() *settling { return &settling{waiting: make(map[ID]time.Time)} }

func (s *settling) regained(id ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.waiting[id]; !ok {
		s.waiting[id] = now.Add(settleSpan)
	}
}

// done tells whether id was the last one that was waited for.
func (s *settling) done(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.waiting[id]
	delete(s.waiting, id)
	return ok && len(s.waiting) == 0
}

// expire lets go of those that took too long and tells whether that settled us.
func (s *settling) expire(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.waiting)
	for id, until := range s.waiting {
		if !now.Before(until) {
			delete(s.waiting, id)
		}
	}
	return before > 0 && len(s.waiting) == 0
}

func (s *settling) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) == 0
}

func (s *settling) waitsFor(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.waiting[id]
	return ok
}
