package gossip

import (
	"fmt"
	"testing"
	"time"
)

func TestTheNearestIsAskedFirst(t *testing.T) {
	q := newErrands()
	for _, id := range []ID{"far", "near", "unknown", "near"} {
		q.add(id)
	}
	rtt := map[ID]time.Duration{"far": 80 * time.Millisecond, "near": time.Millisecond}
	for _, want := range []ID{"near", "far", "unknown", ""} {
		if got := q.next(rtt); got != want {
			t.Errorf("asks %q, want %q", got, want)
		}
	}
	q.ended("near", errNotAdmitted)
	for _, c := range []struct {
		done ID
		want ID
	}{{"", "far"}, {"near", "near"}} { // one that failed stands behind the others until it did not
		q.ended(c.done, nil)
		q.add("near")
		q.add("far")
		if got := q.next(rtt); got != c.want {
			t.Errorf("asks %q, want %q", got, c.want)
		}
		q.next(rtt)
	}
	for i := range 10 * maxErrands {
		q.add(ID(fmt.Sprint(i)))
		q.ended(ID(fmt.Sprint(i)), errNotAdmitted)
	}
	if len(q.waiting) > maxErrands || len(q.failed) > maxErrands {
		t.Errorf("%d wait, %d failed", len(q.waiting), len(q.failed))
	}
}

// A joiner that knows how far away all are chooses at once; it waits for those that may be nearer, not for those that are gone, and not for
// long.
func TestAJoinerLooksAroundFirst(t *testing.T) {
	a, b := known{ID: "a"}, known{ID: "b"}
	lost, left := known{ID: "lost", Lost: true}, known{ID: "left", Left: true}
	for _, c := range []struct {
		what    string
		peers   []known
		heard   []ID
		waiting bool
		over    bool
	}{
		{"nobody answered yet", []known{a, b}, nil, false, false},
		{"one may be nearer", []known{a, b}, []ID{"a"}, true, false},
		{"all are known", []known{a, b}, []ID{"a", "b"}, true, true},
		{"the others are gone", []known{a, lost, left}, []ID{"a"}, true, true},
	} {
		rtt := map[ID]time.Duration{}
		for _, id := range c.heard {
			rtt[id] = time.Millisecond
		}
		s := newSurvey(true)
		if got := s.over(c.peers, rtt, c.waiting); got != c.over {
			t.Errorf("%s: over %v, want %v", c.what, got, c.over)
		}
		s.until = time.Now()
		if got := s.over(c.peers, rtt, c.waiting); got != c.waiting {
			t.Errorf("%s, and the time is up: over %v, want %v", c.what, got, c.waiting)
		}
		s.end()
	}
	if s := newSurvey(false); !s.over([]known{a}, nil, true) {
		t.Error("who has a store looks around")
	}
}
