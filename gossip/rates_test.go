package gossip

import (
	"fmt"
	"testing"
	"time"
)

func TestAnAuthorIsHeldToItsRate(t *testing.T) {
	r, now := newRates(), time.Unix(1_800_000_000, 0)
	taken := 0
	for r.take("a", 100, 1, now) {
		taken += 100
	}
	if taken != authorRecordsBurst {
		t.Errorf("%d records at once, want %d", taken, authorRecordsBurst)
	}
	if !r.take("b", 100, 1, now) {
		t.Error("one author's flood holds up another")
	}
	now = now.Add(time.Second)
	if !r.take("a", authorRecords, 1, now) || r.take("a", 1, 1, now) {
		t.Errorf("after a second it may bring %d more", authorRecords)
	}
	if r.take("c", 1, authorBytesBurst+1, now) {
		t.Error("bytes are not counted")
	}
	for i := range 3 * maxAuthors {
		r.take(fmt.Sprint(i), 1, 1, now)
	}
	if len(r.authors) > maxAuthors {
		t.Errorf("%d authors are remembered", len(r.authors))
	}
}
