package gossip

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// bench runs a judge of peer "b" (and others) under virtual time. The world around it answers checks as it is told to.
type bench struct {
	t       *testing.T
	j       *judge
	begun   time.Time
	answers func(id ID, at time.Duration) (delay time.Duration, ok bool)
	later   []reply
	log     []string
}

type reply struct {
	at time.Time
	e  evidence
}

func newBench(t *testing.T, peers ...ID) *bench {
	b := &bench{t: t, j: newJudge("a", time.Now()), begun: time.Now(),
		answers: func(ID, time.Duration) (time.Duration, bool) { return 2 * time.Millisecond, true }}
	for _, id := range peers {
		b.step(met{id})
		b.step(hinted{id, hintAlive})
	}
	b.run(3 * time.Second)
	b.log = nil
	return b
}

func (b *bench) at() time.Duration { return time.Since(b.begun) }

func (b *bench) step(e evidence) {
	v := b.j.Step(time.Now(), e)
	for _, id := range v.check {
		if delay, ok := b.answers(id, b.at()); ok {
			b.later = append(b.later, reply{time.Now().Add(delay), heard{id}})
		}
	}
	for _, c := range v.changed {
		b.log = append(b.log, fmt.Sprintf("%s %s", c.peer, c.to))
	}
}

// plan lets serf say something after a while.
func (b *bench) plan(after time.Duration, e evidence) {
	b.later = append(b.later, reply{time.Now().Add(after), e})
}

// run lets time pass in steps of 10 ms, with a tick every 100 ms.
func (b *bench) run(span time.Duration) {
	end := time.Now().Add(span)
	for n := 1; time.Now().Before(end); n++ {
		time.Sleep(10 * time.Millisecond) // virtual
		b.deliver()
		if n%10 == 0 {
			b.step(tick{})
		}
	}
}

func (b *bench) deliver() {
	rest := b.later
	b.later = nil
	for _, r := range rest {
		if r.at.After(time.Now()) {
			b.later = append(b.later, r)
		} else {
			b.step(r.e)
		}
	}
}

// freeze stops this process: no step is taken, and what came in waits.
func (b *bench) freeze(span time.Duration) { time.Sleep(span) }

func (b *bench) state(id ID) State { return b.j.peers[id].state }

func (b *bench) want(id ID, s State) {
	b.t.Helper()
	if got := b.state(id); got != s {
		b.t.Errorf("%s is %s at %s, want %s; log: %v", id, got, b.at(), s, b.log)
	}
}

func dead(ID, time.Duration) (time.Duration, bool) { return 0, false }

func TestJudgeCrash(t *testing.T) {
	for offset := time.Duration(0); offset < heartbeat; offset += 50 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, "b", "c")
			b.run(offset)
			b.answers = func(id ID, _ time.Duration) (time.Duration, bool) { return 0, id != "b" }
			b.plan(2800*time.Millisecond, hinted{"b", hintFailed})
			b.run(1500 * time.Millisecond)
			b.want("b", Suspect)
			b.run(2 * time.Second)
			b.want("b", Failed)
			b.want("c", Alive)
		})
	}
}

// TestJudgeOneCheckServesBoth: of two peers one asks and both know. When it dies, the other finds out as fast as it would have.
func TestJudgeOneCheckServesBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judges, asked := map[ID]*judge{}, map[ID]int{}
		other := map[ID]ID{"a": "b", "b": "a"}
		for id, peer := range other {
			judges[id] = newJudge(id, time.Now())
			judges[id].Step(time.Now(), met{peer})
			judges[id].Step(time.Now(), hinted{peer, hintAlive})
		}
		dead := ID("")
		run := func(span time.Duration) {
			for end := time.Now().Add(span); time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond) // virtual; the two tick in turn
				id := ID("a")
				if time.Now().UnixMilli()/50%2 == 0 {
					id = "b"
				}
				if id == dead {
					continue
				}
				for _, peer := range judges[id].Step(time.Now(), tick{}).check {
					if asked[id]++; peer != dead {
						judges[id].Step(time.Now(), heard{peer})
						judges[peer].Step(time.Now(), heard{id})
					}
				}
			}
		}
		run(2 * time.Second)
		clear(asked)
		run(time.Minute)
		if asked["b"] != 0 || asked["a"] < 95 || asked["a"] > 125 {
			t.Errorf("checks in a minute: %v", asked)
		}
		for id, peer := range other {
			if got := judges[id].peers[peer].state; got != Alive {
				t.Errorf("%s takes %s for %s", id, peer, got)
			}
		}
		dead = "a"
		run(heartbeat + yield + suspectAfter + 2*judgeEvery)
		if got := judges["b"].peers["a"].state; got != Suspect {
			t.Errorf("the dead one is %s", got)
		}
	})
}

func TestJudgeNeedsSerfAndSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "b")
		b.step(hinted{"b", hintFailed}) // serf alone is wrong
		b.run(time.Minute)
		b.want("b", Suspect)
		b.step(hinted{"b", hintAlive})
		b.run(time.Second)
		b.want("b", Alive)
		b.answers = dead // only our path to it is cut: serf reaches it through others
		b.run(time.Minute)
		b.want("b", Suspect)
	})
}

func TestJudgePeerFrozenForTwoSecondsEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "b", "c", "d")
		r := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			b.run(time.Duration(r.IntN(5000)) * time.Millisecond)
			wake := b.at() + 2*time.Second
			b.answers = func(id ID, at time.Duration) (time.Duration, bool) {
				if id == "b" && at < wake {
					return wake - at + 50*time.Millisecond, true // it answers when it wakes
				}
				return 2 * time.Millisecond, true
			}
			// At worst serf already calls it dead when it wakes.
			b.plan(1900*time.Millisecond, hinted{"b", hintFailed})
			b.plan(2500*time.Millisecond, hinted{"b", hintAlive})
			b.run(4 * time.Second)
			b.want("b", Alive)
		}
		for _, l := range b.log {
			if l == "b failed" {
				t.Fatalf("a frozen peer was called dead: %v", b.log)
			}
		}
	})
}

func TestJudgeOwnPauseAccusesNobody(t *testing.T) {
	for _, pause := range []time.Duration{900 * time.Millisecond, 2 * time.Second, 10 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, "b", "c")
			b.freeze(pause)
			// What serf says on waking comes before any answer does.
			b.step(hinted{"b", hintFailed})
			b.step(hinted{"c", hintFailed})
			b.step(tick{})
			if slow := b.j.slowNow(); slow != (pause > pauseGap) {
				t.Errorf("slow after a pause of %s: %v", pause, slow)
			}
			b.plan(300*time.Millisecond, hinted{"b", hintAlive})
			b.plan(300*time.Millisecond, hinted{"c", hintAlive})
			b.run(5 * time.Second)
			b.want("b", Alive)
			b.want("c", Alive)
			for _, l := range b.log {
				if l == "b failed" || l == "c failed" {
					t.Errorf("after a pause of %s: %v", pause, b.log)
				}
			}
			if b.j.slowNow() {
				t.Error("still slow 5 s after the pause")
			}
		})
	}
}

func TestJudgeStillFindsTheDeadAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "b", "c")
		b.answers = func(id ID, _ time.Duration) (time.Duration, bool) { return 0, id != "b" }
		b.freeze(5 * time.Second)
		b.step(hinted{"b", hintFailed})
		b.run(8 * time.Second)
		b.want("b", Failed)
		b.freeze(5 * time.Second)
		b.run(100 * time.Millisecond)
		b.want("b", Failed) // another pause does not raise the dead
	})
}

func TestJudgeHoldsOnMassAbsence(t *testing.T) {
	for _, c := range []struct {
		peers, lost int
		hold        bool
	}{{1, 1, false}, {2, 2, false}, {2, 1, false}, {3, 1, false}, {3, 2, true}, {4, 2, false}, {4, 3, true}, {9, 5, true}} {
		synctest.Test(t, func(t *testing.T) {
			var ids []ID
			for i := range c.peers {
				ids = append(ids, ID(fmt.Sprint("p", i)))
			}
			b := newBench(t, ids...)
			lost := make(map[ID]bool)
			for _, id := range ids[:c.lost] {
				lost[id] = true
				b.plan(2800*time.Millisecond, hinted{id, hintFailed})
			}
			b.answers = func(id ID, _ time.Duration) (time.Duration, bool) { return 0, !lost[id] }
			b.run(4 * time.Second)
			for _, id := range ids[:c.lost] {
				b.want(id, Failed)
			}
			if held, _ := b.j.hold(time.Now()); held != c.hold {
				t.Errorf("%d of %d lost: hold %v", c.lost, c.peers, held)
			}
			b.run(massHold)
			if held, _ := b.j.hold(time.Now()); held {
				t.Errorf("%d of %d lost: still holding after %s", c.lost, c.peers, massHold)
			}
		})
	}
}

func TestJudgeHoldsBeforeTheFirstVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "b", "c", "d", "e")
		b.answers = dead
		for _, id := range []ID{"b", "c", "d", "e"} {
			b.plan(2800*time.Millisecond, hinted{id, hintFailed})
		}
		for b.at() < 20*time.Second {
			b.run(100 * time.Millisecond)
			if held, _ := b.j.hold(time.Now()); b.state("b") == Failed && !held {
				t.Fatal("a verdict fell before the hold")
			}
		}
		b.want("b", Failed)
	})
}

func TestJudgeFarewellAndReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "b")
		b.step(farewell{"b"})
		b.answers = dead
		b.plan(2*time.Second, hinted{"b", hintFailed})
		b.run(10 * time.Second)
		b.want("b", Suspect) // it said that it restarts
		b.run(8 * time.Second)
		b.want("b", Failed) // but did not come back

		b.answers = func(ID, time.Duration) (time.Duration, bool) { return 0, true }
		b.step(heard{"b"}) // a redial succeeded
		b.want("b", Suspect)
		b.step(hinted{"b", hintAlive})
		b.run(time.Second)
		b.want("b", Alive)

		b.step(departed{"b"})
		b.want("b", Left)
		b.answers = dead
		b.run(time.Minute)
		b.want("b", Left)
		b.step(hinted{"b", hintFailed}) // serf's way of forgetting one that left
		b.want("b", Left)
		b.answers = func(ID, time.Duration) (time.Duration, bool) { return 0, true }
		b.step(hinted{"b", hintAlive})
		b.run(time.Second)
		b.want("b", Alive)
	})
}

// Whoever holds serf's key can make serf say anything: that alone neither sends a member away nor brings one back.
func TestJudgeSerfAloneNeitherSendsAwayNorBringsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "b", "c")
		for _, h := range []hint{hintLeft, hintFailed} {
			b.step(hinted{"b", h})
			b.run(time.Minute)
			b.want("b", Suspect) // it answers us
			b.step(hinted{"b", hintAlive})
			b.run(time.Second)
			b.want("b", Alive)
		}
		b.answers = dead
		b.step(hinted{"b", hintLeft})
		b.run(10 * time.Second)
		b.want("b", Left) // and here it does not: its goodbye to us was lost
		b.step(departed{"c"})
		b.log = nil
		b.step(hinted{"b", hintAlive})
		b.step(hinted{"c", hintAlive})
		b.run(time.Minute)
		b.want("b", Suspect)
		b.want("c", Left)
		for _, l := range b.log {
			if l == "b alive" || l == "c alive" || l == "c suspect" {
				t.Errorf("serf alone made it so: %v", b.log)
			}
		}
	})
}

func TestJudgeSlowScoreNeedsWitnesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "b", "c")
		b.step(tick{score: 3})
		if !b.j.slowNow() {
			t.Error("a bad score with two live peers does not count")
		}
		one := newBench(t, "b")
		one.step(tick{score: 7})
		if one.j.slowNow() {
			t.Error("a bad score that only says that the one peer is dead counts")
		}
	})
}

func TestJudgeTwentyPercentLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "b", "c", "d")
		r := rand.New(rand.NewPCG(3, 4))
		b.answers = func(id ID, _ time.Duration) (time.Duration, bool) {
			if id != "b" {
				return 0, true
			}
			delay := time.Millisecond // QUIC sends again after 25, 75, 175, 375, 775 ms …
			for wait := 25 * time.Millisecond; r.Float64() > 0.64; wait *= 2 {
				delay += wait
			}
			return delay, true
		}
		for range 20 * 60 {
			if r.IntN(20) == 0 { // serf is wrong every now and then
				b.plan(0, hinted{"b", hintFailed})
				b.plan(time.Second, hinted{"b", hintAlive})
			}
			b.run(time.Second)
		}
		for _, l := range b.log {
			if l == "b failed" {
				t.Fatal("packet loss was taken for death")
			}
		}
	})
}

func TestJudgeWakesBeforeItsAnswersAreRead(t *testing.T) {
	for _, pause := range []time.Duration{900 * time.Millisecond, 3 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, "b", "c")
			b.answers = func(ID, time.Duration) (time.Duration, bool) { return 150 * time.Millisecond, true }
			for len(b.later) == 0 {
				b.run(100 * time.Millisecond)
			}
			waiting := b.later // a check is under way when this process freezes
			b.later = nil
			b.freeze(pause)
			b.run(150 * time.Millisecond) // the ticker is quicker than the readers of answers
			for _, r := range waiting {
				b.step(r.e)
			}
			b.run(5 * time.Second)
			if len(b.log) > 0 {
				t.Errorf("a pause of %s changed what is believed of others: %v", pause, b.log)
			}
		})
	}
}

// At a start nobody has answered yet, and that is no evidence: who was there when we were last here gets more time, and
// many of them missing at once is a mass absence like any other.
func TestJudgeAwaitsWhoWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.answers = dead
		for _, id := range []ID{"b", "c", "d"} {
			b.step(awaited{id})
		}
		b.step(met{"e"}) // was lost before already
		b.run(5 * time.Second)
		b.want("b", Suspect)
		b.want("e", Failed)
		if held, _ := b.j.hold(time.Now()); !held {
			t.Error("three peers do not show themselves, and nothing is held")
		}
		b.step(hinted{"b", hintFailed}) // somebody else has seen it die
		b.run(100 * time.Millisecond)
		b.want("b", Failed)
		b.want("c", Suspect)
		b.run(awaitPatience)
		b.want("c", Failed)
		b.step(hinted{"d", hintAlive})
		b.answers = func(ID, time.Duration) (time.Duration, bool) { return time.Millisecond, true }
		b.run(time.Second)
		b.want("d", Alive)
		b.run(massHold)
		if held, _ := b.j.hold(time.Now()); held {
			t.Error("still held a minute later")
		}
	})
}
