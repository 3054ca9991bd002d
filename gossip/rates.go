package gossip

import (
	"sync"
	"time"
)

// rates bounds what one author may bring into every store by gossip, where each record costs all members a signature check and
// an fsync. Over it, gossip is neither merged nor relayed: reconciliation brings the records, at the pace of whoever asks.
// A bucket for records and one for bytes, each refilled with time.
type rates struct {
	mu      sync.Mutex // guards authors
	authors map[string]*allowance
}

type allowance struct {
	records, bytes float64 // left
	last           time.Time
}

func newRates() *rates { return &rates{authors: make(map[string]*allowance)} }

// take charges an author and tells whether it may go on. What is refused is not charged.
func (r *rates) take(author string, records, bytes int, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.authors[author]
	if a == nil {
		r.forget(now)
		a = &allowance{authorRecordsBurst, authorBytesBurst, now}
		r.authors[author] = a
	}
	passed := max(now.Sub(a.last), 0).Seconds()
	a.last = now
	a.records = min(a.records+passed*authorRecords, authorRecordsBurst)
	a.bytes = min(a.bytes+passed*authorBytes, authorBytesBurst)
	if a.records < float64(records) || a.bytes < float64(bytes) {
		return false
	}
	a.records -= float64(records)
	a.bytes -= float64(bytes)
	return true
}

// forget makes room: after so long a quiet every bucket is full anyway. Where nobody was quiet, all begin anew.
func (r *rates) forget(now time.Time) {
	if len(r.authors) < maxAuthors {
		return
	}
	for id, a := range r.authors {
		if now.Sub(a.last) > authorQuiet {
			delete(r.authors, id)
		}
	}
	if len(r.authors) >= maxAuthors {
		clear(r.authors)
	}
}
