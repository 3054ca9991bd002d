package absence

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/placement"
)

// stage is a mesh whose servers come and go in virtual time, seen by its first one.
type stage struct {
	*ledger
	now     time.Time
	members []gossip.Member
	doubt   bool
}

// newStage has n servers, s0 to s(n−1), dealt out to regions; each is a zone of its own, as in a rack.
func newStage(n, regions int) *stage {
	s := &stage{ledger: newLedger(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	for i := range n {
		s.members = append(s.members, gossip.Member{ID: gossip.ID(fmt.Sprint("id", i)), Name: fmt.Sprint("s", i), Region: fmt.Sprint("r", i%regions), Zone: fmt.Sprint("z", i), Since: s.now})
	}
	s.look()
	return s
}

func (s *stage) look() { s.see(slices.Clone(s.members), s.now, s.doubt) }

func (s *stage) pass(d time.Duration) { s.now = s.now.Add(d); s.look() }

func (s *stage) turn(state gossip.State, servers ...int) {
	for _, i := range servers {
		s.members[i].State, s.members[i].Since = state, s.now
	}
	s.look()
}

// die is the end of servers at one moment: suspected together, declared dead one by one.
func (s *stage) die(servers ...int) {
	s.turn(gossip.Suspect, servers...)
	s.pass(2500 * time.Millisecond)
	for _, i := range servers {
		s.turn(gossip.Failed, i)
		s.pass(50 * time.Millisecond)
	}
}

func (s *stage) flap(servers ...int) {
	s.die(servers...)
	s.pass(5 * time.Second)
	s.turn(gossip.Alive, servers...)
	s.pass(5 * time.Second)
}

func TestThirdFailureDampsUntilItHasBeenCalm(t *testing.T) {
	s := newStage(3, 1)
	for i := range 3 {
		if got := s.flapping(s.now); len(got) != 0 {
			t.Fatalf("after %d failures: %v", i, got)
		}
		s.flap(2)
	}
	until, is := s.flapping(s.now)["s2"]
	if !is || until.Sub(s.now) < time.Minute || until.Sub(s.now) > 8*time.Minute {
		t.Fatalf("flapping %t, for %s", is, until.Sub(s.now))
	}
	if next := s.next(s.now); !next.Equal(until) {
		t.Errorf("the next look is at %s, the end at %s", next, until)
	}
	s.pass(until.Sub(s.now))
	if got := s.flapping(s.now); len(got) != 0 {
		t.Errorf("still %v", got)
	}
}

func TestOnlyRealFailuresCount(t *testing.T) {
	for name, act := range map[string]func(*stage){
		"suspected only": func(s *stage) { s.turn(gossip.Suspect, 2); s.pass(time.Second); s.turn(gossip.Alive, 2) },
		"said goodbye":   func(s *stage) { s.turn(gossip.Left, 2); s.pass(time.Second); s.turn(gossip.Alive, 2) },
		"in doubt":       func(s *stage) { s.doubt = true; s.flap(2); s.doubt = false },
	} {
		s := newStage(3, 1)
		for range 5 {
			act(s)
		}
		if got := s.flapping(s.now); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Where most of the mesh comes and goes, the link does: nobody is kept out, or new pods would have no place.
func TestFlappingLinkDampsNobody(t *testing.T) {
	s := newStage(5, 1)
	for range 4 {
		s.flap(2, 3, 4)
	}
	if got := s.flapping(s.now); got != nil {
		t.Errorf("damped %v", got)
	}
}

// Whoever was away itself learns from the others that it flaps, and from nobody more than there can be.
func TestMemoryIsLearnt(t *testing.T) {
	s := newStage(3, 1)
	for range 3 {
		s.flap(2)
	}
	fresh := newStage(3, 1)
	fresh.now = s.now
	fresh.learn(s.flaps, fresh.now)
	if len(fresh.flapping(fresh.now)) != 1 {
		t.Errorf("learnt %v", fresh.flaps)
	}
	fresh.learn(map[string]placement.Flaps{"s2": {}}, fresh.now)
	if len(fresh.flapping(fresh.now)) != 1 {
		t.Error("a better word was believed")
	}
	fresh.learn(map[string]placement.Flaps{"s1": {Penalty: 1 << 60, Suppressed: true, At: fresh.now.Add(1000 * time.Hour)}}, fresh.now)
	fresh.pass(fresh.damping.HalfLife * 5)
	if got := fresh.flapping(fresh.now); len(got) != 0 {
		t.Errorf("kept out for too long: %v", got)
	}
}
