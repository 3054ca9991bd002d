package gossip

import (
	"sync"
	"time"
)

// settling holds the regained members with which we have not reconciled yet.
type settling struct {
	mu      sync.Mutex // guards all below
	waiting map[ID]time.Time
	calm    time.Time // not settled before
	told    bool      // that we are settled
}

func newSettling() *settling { return &settling{waiting: make(map[ID]time.Time), told: true} }

func (s *settling) regained(id ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.waiting[id]; !ok {
		s.waiting[id] = now.Add(settleSpan)
	}
	s.calm, s.told = now.Add(calmSpan), false
}

// done stops waiting for id.
func (s *settling) done(id ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, id)
}

// expire lets go of those that took too long and tells, once, that we are settled again.
func (s *settling) expire(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, until := range s.waiting {
		if !now.Before(until) {
			delete(s.waiting, id)
		}
	}
	if s.told || !s.quiet(now) {
		return false
	}
	s.told = true
	return true
}

func (s *settling) settled(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quiet(now)
}

// quiet is asked with s.mu held.
func (s *settling) quiet(now time.Time) bool { return len(s.waiting) == 0 && !now.Before(s.calm) }

func (s *settling) waitsFor(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.waiting[id]
	return ok
}
