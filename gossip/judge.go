package gossip

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// judge decides what this node believes of its peers. It is pure: time and evidence enter through Step and what is to be
// done comes out. serf gives hints; a verdict needs this node's own evidence too.
//
//	     answered, and serf has it alive
//	  ┌──────────────────────────────────────┐
//	  ▼    no answer for 0.5 s                │
//	Alive ────────────────────► Suspect ──────┤
//	  ▲                          │   ▲        │
//	  │     serf says failed AND │   │ answered (serf not yet), or
//	  │     no answer for 2.5 s, │   │ serf has it alive again
//	  │     ≥ 4 checks sent      ▼   │        │
//	  └───────────────────────  Failed ───────┘         goodbye ──► Left ──► Alive (it came back and answered)
//
// A goodbye is one that the peer said to us; where serf alone tells of it, the peer must have been as silent as a dead one.
//
// Silence is counted from the first check without an answer and in this node's waking time: while this process was frozen,
// nobody was silent. A pause over 1 s voids what was pending and gives every peer a fresh period.
type judge struct {
	self  ID
	peers map[ID]*suspect
	row   []*suspect    // the same, by ID: every Step goes through all several times
	last  time.Time     // of the last Step
	awake time.Duration // waking time: rises with the clock, but by at most maxStep a Step
	slow  time.Duration // until when (waking time) this node mistrusts itself after a pause
	score int           // serf's health score of this node
	mass  time.Time     // since when more than half of the peers are newly out of sight; zero: they are not

	held, wasSlow bool // as of the last Step
}

// suspect is what is known of one peer.
type suspect struct {
	id      ID
	state   State
	since   time.Time
	serf    hint
	silent  bool          // a check is without an answer
	silence time.Duration // waking time when the first check without an answer was sent
	checks  int           // sent since then
	next    time.Duration // waking time of the next check
	gone    bool          // it said goodbye to us, or was superseded or evicted: not serf's word
	excused time.Duration // waking time until which it may be silent: it said that it restarts
	lost    time.Time     // when it was last seen to go from Alive to anything else but Left, or since when it is awaited
	awaited bool          // nobody but us has spoken of it yet in this life of ours
}

// hint is serf's view of a peer.
type hint uint8

const (
	hintNone hint = iota // serf has never met it in this life of ours
	hintAlive
	hintFailed
	hintLeft
)

// Timing. With 2 to 10 members serf says failed 2.4 to 3.7 s after a crash (probe interval 0.4 s, suspicion 2 s), silence
// lasts 2.5 to 3.1 s; both are needed. A peer frozen for 2 s answers before either ends. Both grow with log10 N.
const (
	heartbeat    = 500 * time.Millisecond // between checks of a peer that answers; stretched beyond 16 peers
	yield        = 150 * time.Millisecond // what one of two peers waits longer, so that the other's check serves both
	recheck      = 300 * time.Millisecond // between checks of a peer that owes an answer
	doubtAfter   = 300 * time.Millisecond // silence after which checks go out at the faster pace
	suspectAfter = 500 * time.Millisecond
	failAfter    = 2500 * time.Millisecond
	failChecks   = 4
	excuse       = 15 * time.Second // for a daemon that said that it restarts
	benefit      = 5 * time.Second  // of the excuse, in which it is not even suspected: its pods run on and serve
	lastWords    = 2 * time.Second  // after its goodbye a daemon may still answer what was under way
	pauseGap     = time.Second      // between two Steps: this process was frozen
	maxStep      = 250 * time.Millisecond
	slowSpan     = 3 * time.Second
	slowScore    = 2
	massWindow   = 90 * time.Second // a peer lost longer ago is old news
	massHold     = 60 * time.Second

	// An awaited peer that serf has not found yet gets more time: at a start it is as likely that our own link is not up.
	awaitPatience = 15 * time.Second
)

// evidence is what the judge judges by.
type evidence interface{ evidence() }

type (
	tick   struct{ score int } // every 100 ms, with serf's health score
	heard  struct{ peer ID }   // it answered a check, thanked for an answer, said hello or was just admitted
	hinted struct {
		peer ID
		hint hint
	}
	met      struct{ peer ID } // a peer to be watched from now on
	awaited  struct{ peer ID } // likewise, and it should be there: it was in an earlier life of ours, or others know it
	farewell struct{ peer ID } // it said that its daemon restarts
	departed struct{ peer ID } // it said goodbye, now or in an earlier life of ours, or was superseded
)

func (tick) evidence()     {}
func (heard) evidence()    {}
func (hinted) evidence()   {}
func (met) evidence()      {}
func (awaited) evidence()  {}
func (farewell) evidence() {}
func (departed) evidence() {}

// verdicts is what a Step wants done.
type verdicts struct {
	check   []ID     // ask these over libp2p whether they live
	changed []change // state transitions, in order of ID
	turned  bool     // the hold or the slowness of this node changed, or a peer is new
}

type change struct {
	peer     ID
	from, to State
}

func newJudge(self ID, now time.Time) *judge {
	return &judge{self: self, peers: make(map[ID]*suspect), last: now}
}

// Step takes one piece of evidence at a time; now must not fall.
func (j *judge) Step(now time.Time, e evidence) verdicts {
	j.pass(now)
	var v verdicts
	peers := len(j.peers)
	switch e := e.(type) {
	case tick:
		j.score = e.score
		v.check = j.due()
	case met:
		if e.peer != j.self {
			j.peer(e.peer, now)
		}
	case awaited:
		if e.peer != j.self && j.peers[e.peer] == nil {
			p := j.peer(e.peer, now)
			p.awaited, p.lost = true, now
		}
	case heard:
		if p := j.peers[e.peer]; p != nil {
			p.answered(j.awake, j.pace(e.peer))
		}
	case hinted:
		if e.peer != j.self {
			j.peer(e.peer, now).hinted(e.hint, j.awake)
		}
	case farewell:
		if p := j.peers[e.peer]; p != nil {
			p.excused = j.awake + excuse
		}
	case departed:
		if e.peer != j.self {
			p := j.peer(e.peer, now)
			p.serf, p.gone = hintLeft, true
		}
	}
	v.changed = j.review(now)
	j.weigh(now)
	held, _ := j.hold(now)
	slow := j.slowNow()
	v.turned = held != j.held || slow != j.wasSlow || len(j.peers) != peers
	j.held, j.wasSlow = held, slow
	return v
}

// pass lets waking time go on and notices when this process did not run.
func (j *judge) pass(now time.Time) {
	gap := max(now.Sub(j.last), 0)
	j.last = now
	j.awake += min(gap, maxStep)
	if gap <= pauseGap {
		return
	}
	j.slow = j.awake + slowSpan
	for _, p := range j.row {
		if p.state != Failed {
			p.silent, p.checks, p.next = false, 0, j.awake
		}
	}
}

func (j *judge) peer(id ID, now time.Time) *suspect {
	p := j.peers[id]
	if p == nil {
		p = &suspect{id: id, state: Suspect, since: now, next: j.awake}
		j.peers[id] = p
		at, _ := slices.BinarySearchFunc(j.row, id, func(p *suspect, id ID) int { return cmp.Compare(p.id, id) })
		j.row = slices.Insert(j.row, at, p)
	}
	return p
}

func (p *suspect) answered(awake, pace time.Duration) {
	p.silent, p.checks = false, 0
	p.gone = p.gone && p.serf != hintAlive // before, it was what was under way when it said goodbye
	if awake > p.excused-excuse+lastWords {
		p.excused = 0
	}
	p.next = awake + pace
}

func (p *suspect) hinted(h hint, awake time.Duration) {
	if p.serf == h {
		return
	}
	if p.serf == hintLeft && h == hintFailed {
		return // serf lets go of one that left; it did not crash
	}
	p.serf, p.awaited = h, false
	if p.state == Left { // serf's word alone brings nobody back
		p.silent, p.silence, p.checks = true, awake, 0
	}
	p.next = min(p.next, awake) // look for ourselves at once
}

// due are the peers whose check is due; it counts them as sent.
func (j *judge) due() []ID {
	var out []ID
	for _, p := range j.row {
		if (p.state == Left || p.state == Failed) && p.serf != hintAlive {
			continue // the redialer looks after those
		}
		doubt := p.silent && j.awake-p.silence >= doubtAfter
		if doubt && p.checks == 1 {
			p.next = min(p.next, j.awake)
		}
		if j.awake < p.next {
			continue
		}
		if !p.silent {
			p.silent, p.silence = true, j.awake
		}
		p.checks++
		p.next = j.awake + recheck
		if p.checks == 1 {
			p.next = j.awake + doubtAfter
		}
		out = append(out, p.id)
	}
	return out
}

// pace stretches the heartbeat so that no node takes part in more than 32 checks a second. A check tells both sides: the one with
// the lesser ID asks, the other asks only when it was not asked.
func (j *judge) pace(id ID) time.Duration {
	wait := max(heartbeat, time.Duration(len(j.peers))*heartbeat/16)
	if j.self > id {
		wait += yield
	}
	return wait
}

// scale makes patience grow with the size of the mesh, as serf's suspicion does.
func (j *judge) scale() float64 {
	return max(1, math.Log10(float64(len(j.peers)+1)))
}

// review brings every peer's state in line with the evidence.
func (j *judge) review(now time.Time) []change {
	var out []change
	patience := time.Duration(float64(failAfter) * j.scale()) // as of before: the same for all, and found once
	slow := j.slowNow()
	for _, p := range j.row {
		to := j.verdict(p, patience, slow)
		if to == p.state {
			continue
		}
		out = append(out, change{peer: p.id, from: p.state, to: to})
		if p.state == Alive && to != Left {
			p.lost = now
		}
		p.state, p.since = to, now
	}
	return out
}

// verdict judges one peer, given how long a peer of this mesh may be silent, and whether this node mistrusts itself.
func (j *judge) verdict(p *suspect, patience time.Duration, slow bool) State {
	silence := time.Duration(0)
	if p.silent {
		silence = j.awake - p.silence
	}
	if p.awaited {
		patience = max(patience, awaitPatience)
	}
	if slow {
		patience *= 2
	}
	dead := silence >= patience && p.checks >= failChecks && j.awake >= p.excused
	switch {
	case p.gone, p.state == Left && p.serf == hintLeft:
		return Left
	case p.state == Alive && j.awake < p.excused-(excuse-benefit):
		return Alive
	case p.state == Failed && p.serf != hintAlive && (p.silent || p.checks > 0):
		return Failed
	case p.serf == hintLeft && dead:
		return Left
	case p.serf != hintAlive && dead:
		return Failed
	case p.serf != hintAlive || silence >= suspectAfter:
		return Suspect
	case p.state != Alive && p.silent:
		return Suspect // serf has it again, we have not heard it yet
	}
	return Alive
}

// slowNow tells whether this node should mistrust its own view: it was frozen a moment ago, or serf finds that its probes
// fail more than those of others. With fewer than two live peers that score only says that the peer is dead.
func (j *judge) slowNow() bool {
	if j.awake < j.slow {
		return true
	}
	live := 0
	for _, p := range j.row {
		if p.state == Alive {
			live++
		}
	}
	return j.score > slowScore && live >= 2
}

// weigh notices when more than half of the peers that were there lately are out of sight.
func (j *judge) weigh(now time.Time) {
	missing, there := 0, 0
	for _, p := range j.row {
		switch {
		case p.state == Alive:
			there++
		case p.state != Left && !p.lost.IsZero() && now.Sub(p.lost) < massWindow:
			missing++
		}
	}
	if missing+there < 3 || 2*missing <= missing+there {
		j.mass = time.Time{}
	} else if j.mass.IsZero() {
		j.mass = now
	}
}

// hold tells whether destructive decisions wait because of a mass absence, and until when.
func (j *judge) hold(now time.Time) (bool, time.Time) {
	if j.mass.IsZero() {
		return false, time.Time{}
	}
	until := j.mass.Add(massHold)
	return now.Before(until), until
}
