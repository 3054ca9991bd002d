package gossip

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A crash is believed by all, and nobody else is believed dead, in meshes of any size and with 1 % of packets lost.
func TestDeathIsAgreedOnAtSize(t *testing.T) {
	for _, n := range sizes(t) {
		synctest.Test(t, func(t *testing.T) {
			o := newOcean(t, n, 0)
			defer o.end()
			o.mu.Lock()
			o.loss = .01
			o.mu.Unlock()
			others := func(s *island) bool { return s.n != n/2 }
			whole, err := o.until(10*time.Minute, Alive, func(*island) bool { return true })
			if err != nil {
				t.Fatalf("%d servers do not find one another: %v", n, err)
			}
			victim := o.all[n/2]
			victim.mu.Lock()
			victim.off = true
			victim.mu.Unlock()
			began := time.Now()
			took, err := o.until(time.Minute, Failed, func(s *island) bool { return s == victim })
			if err != nil {
				t.Fatalf("%d servers: one that is dead is seen as %v", n, err)
			}
			time.Sleep(time.Minute)
			var waits []time.Duration
			wrong := 0
			for _, s := range o.all {
				s.mu.Lock()
				for id, deaths := range s.deaths {
					if id != victim.id && s != victim {
						wrong += deaths
					}
				}
				if s != victim {
					waits = append(waits, s.since[victim.id].Sub(began))
				}
				s.mu.Unlock()
			}
			if _, err := o.until(30*time.Second, Alive, others); err != nil || wrong > 0 {
				t.Errorf("%d servers: %d wrong verdicts of death; the living are seen as %v", n, wrong, err)
			}
			slices.Sort(waits)
			t.Logf("%d servers, 1 %% loss: all found one another %s after the last joined; a death is known to the median after %s, to all after %s; %d packets",
				n, whole.Round(time.Millisecond), waits[len(waits)/2].Round(time.Millisecond), took.Round(time.Millisecond), o.sent)
		})
	}
}

// Servers of which one in twenty stands still for 5 to 10 s, over and over, are believed dead now and then, which is counted; but none
// that runs is, and who stood still is back soon after.
func TestStallsKillNobodyElse(t *testing.T) {
	for _, n := range sizes(t) {
		synctest.Test(t, func(t *testing.T) {
			o := newOcean(t, n, 0)
			defer o.end()
			if _, err := o.until(10*time.Minute, Alive, func(*island) bool { return true }); err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(uint64(n), 2))
			rounds := min(4, max(1, 40*20/n)) // forty stalls, where four rounds are enough
			stalls, lame := 0, func(s *island) bool { return s.n%20 == 7 }
			for range rounds {
				for _, s := range o.all {
					if lame(s) {
						s.mu.Lock()
						s.stalled = time.Now().Add(5*time.Second + time.Duration(rng.Int64N(int64(5*time.Second))))
						s.mu.Unlock()
						stalls++
					}
				}
				time.Sleep(20 * time.Second)
			}
			back, err := o.until(time.Minute, Alive, func(*island) bool { return true })
			if err != nil {
				t.Errorf("%d servers: a minute after the last stall they see one another as %v", n, err)
			}
			ofLame, byLame, wrong := 0, 0, 0
			for _, s := range o.all {
				s.mu.Lock()
				for _, x := range o.all {
					switch deaths := s.deaths[x.id]; {
					case lame(x):
						ofLame += deaths
					case lame(s):
						byLame += deaths
					default:
						wrong += deaths
					}
				}
				s.mu.Unlock()
			}
			if wrong > 0 {
				t.Errorf("%d servers: %d verdicts of death by servers that ran about servers that ran", n, wrong)
			}
			t.Logf("%d servers, %d stalls of 5 to 10 s: %.2f of the others called one that stood still dead; those that stood still called others dead %d times; all alive again %s after",
				n, stalls, float64(ofLame)/float64(stalls*(n-1)), byLame, back.Round(time.Millisecond))
		})
	}
}

// Two halves that serf has forgotten in one another find together again.
func TestHalvesThatForgotOneAnotherMeetAgain(t *testing.T) {
	n := sizes(t)[0]
	synctest.Test(t, func(t *testing.T) {
		o := newOcean(t, n, time.Minute)
		defer o.end()
		everybody := func(*island) bool { return true }
		if _, err := o.until(10*time.Minute, Alive, everybody); err != nil {
			t.Fatal(err)
		}
		o.mu.Lock()
		o.apart = func(a, b *island) bool { return a.n%2 != b.n%2 }
		o.mu.Unlock()
		time.Sleep(10 * time.Minute)
		for _, s := range o.all {
			if got := len(s.serf.Members()); got != n/2 {
				t.Fatalf("serf of %s knows %d servers: it was to forget the other half", s.id, got)
			}
		}
		o.mu.Lock()
		o.apart = nil
		o.mu.Unlock()
		took, err := o.until(2*time.Minute, Alive, everybody)
		if err != nil {
			t.Errorf("the halves see one another as %v", err)
		}
		t.Logf("%d servers: all alive %s after the halves could meet", n, took)
	})
}
