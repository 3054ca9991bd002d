package absence

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
)

func (s *stage) waiting() (out []string) {
	for _, m := range s.members {
		if s.held(m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// The loss of a single server, or of the smaller side of a small mesh, is never held: that is what small meshes live from.
func TestSmallLossesAreNeverHeld(t *testing.T) {
	for _, c := range []struct {
		servers, regions int
		lost             []int
	}{
		{3, 1, []int{2}}, {4, 1, []int{3}}, {5, 1, []int{4}}, {5, 2, []int{1}},
		{5, 2, []int{1, 3}}, // a split 3|2, seen by the three
		{5, 1, []int{3, 4}}, {4, 1, []int{2, 3}}, {3, 1, []int{1, 2}}, {2, 1, []int{1}},
	} {
		s := newStage(c.servers, c.regions)
		s.turn(gossip.Suspect, c.lost...)
		s.pass(2500 * time.Millisecond)
		s.turn(gossip.Failed, c.lost...)
		if got := s.waiting(); len(got) != 0 {
			t.Errorf("%+v: held %v", c, got)
		}
	}
}

func TestLostRegionIsGivenUpOneAfterTheOther(t *testing.T) {
	s := newStage(20, 2)
	lost := []int{1, 3, 5, 7, 9, 11, 13, 15}
	s.die(lost...)
	if got := s.waiting(); len(got) != 6 {
		t.Fatalf("%d wait: %v", len(got), got)
	}
	if len(s.storms) != 1 || s.storms[0].Domain != "region r1" || s.storms[0].Lost != 8 || s.storms[0].Size != 10 {
		t.Errorf("storms %+v", s.storms)
	}
	before := 6
	for range 8 {
		next := s.next(s.now)
		if next.IsZero() {
			break
		}
		s.pass(next.Sub(s.now))
		if got := len(s.waiting()); got >= before {
			t.Fatalf("%d wait after the turn of one of %d", got, before)
		} else {
			before = got
		}
	}
	if got := s.waiting(); len(got) != 0 || len(s.storms) != 0 {
		t.Errorf("it does not end: %v", got)
	}
}

// Who was given up stays so, also when the storm grows: its replacements run already.
func TestWhoWasGivenUpStaysSo(t *testing.T) {
	s := newStage(20, 2)
	s.die(1, 3, 5, 7) // 40 %: no storm
	if got := s.waiting(); len(got) != 0 {
		t.Fatalf("held %v", got)
	}
	s.turn(gossip.Suspect, 9, 11, 13)
	if got := s.waiting(); len(got) != 0 {
		t.Errorf("held %v", got)
	}
}

func TestStormEndsWhenTheServersAreBack(t *testing.T) {
	s := newStage(20, 2)
	s.die(1, 3, 5, 7, 9, 11)
	s.turn(gossip.Alive, 5, 7, 9, 11)
	if got := s.waiting(); len(got) != 0 || len(s.storms) != 0 {
		t.Errorf("held %v", got)
	}
}

// Servers that die together are suspected in another order by everybody; all must give up the same ones first.
func TestAllGiveUpTheSameFirst(t *testing.T) {
	var first []string
	for _, order := range [][]int{{1, 3, 5, 7, 9, 11}, {11, 9, 1, 5, 3, 7}} {
		s := newStage(20, 2)
		for _, i := range order {
			s.turn(gossip.Suspect, i)
			s.pass(100 * time.Millisecond)
		}
		s.turn(gossip.Failed, order...)
		if first == nil {
			first = s.waiting()
		} else if got := s.waiting(); !slices.Equal(got, first) || len(got) == 0 {
			t.Errorf("one holds %v, another %v", first, got)
		}
	}
}

// A storm is told of, wakes whoever watches at every turn, and ends by itself.
func TestStormIsToldAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := listen(t, newStage(20, 2))
		dead := slices.Clone(a.members)
		for _, i := range []int{1, 3, 5, 7, 9, 11} {
			dead[i].State, dead[i].Since = gossip.Failed, time.Now()
		}
		a.mu.Lock()
		a.members = dead
		a.mu.Unlock()
		held := 0
		for _, m := range dead { // asked before Run is woken
			if a.Held(m.Name) {
				held++
			}
		}
		if held != 4 {
			t.Errorf("%d of 6 are held at first, want 4", held)
		}
		a.changed <- struct{}{}
		synctest.Wait()
		if a.heard()[Delayed] != 4 || len(a.Storms()) != 1 {
			t.Errorf("told %v", a.heard())
		}
		for resumed := range 4 {
			a.woken()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if !a.woken() || a.heard()[Resumed] != resumed+1 {
				t.Errorf("turn %d: told %v", resumed+1, a.heard())
			}
		}
		if len(a.Storms()) != 0 {
			t.Errorf("storms %v", a.Storms())
		}
	})
}
