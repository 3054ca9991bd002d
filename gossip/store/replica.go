package store

import (
	"fmt"
	"sync/atomic"
	"time"
)

// replica is a store without a clock, a file, a mesh or a goroutine of its own: inputs go in one at a time, actions come
// out, and a batch that is to be made durable. Store drives it with the real things, package sim with virtual ones; both
// run every line of what stands here.
//
// One batch at a time is under way to the disk. Meanwhile the next one gathers, which is what makes commits come in groups
// without making a lone write wait. What must be durable first waits with its batch: no object is shown, no write answered,
// no record published or reconciled before its fsync.
type replica struct {
	cfg    Config
	view   *view
	known  atomic.Pointer[fixed] // what is on disk; for any goroutine
	health atomic.Pointer[error] // likewise
	skips  func(hash) bool       // records that must not be merged; for any goroutine; nil: none

	// What follows belongs to whoever steps.
	core     *core
	cur      *batch
	inflight *batch
	marks    marks // as last made durable or under way
	out      []Action
}

// fixed is what is on disk, and what may be said of it.
type fixed struct {
	set   *node[*Record]
	hello *hello
}

// Action is what the world has to do for a replica. Exactly one field is set.
type Action struct {
	Reply   *Reply
	Publish []byte    // a frame for gossip; the callee's to keep
	Ask     *Question // carry it to a home, and its answer back as an Input of Answered
}

// Reply is the answer to the input of that ID.
type Reply struct {
	ID     uint64
	Object *Object // of a Write: the view afterwards, for a Delete the last one before
	Err    error

	verdict verdict
	current []*Record
}

// Question is a proposal under way to the home of an object.
type Question struct {
	Write uint64
	Home  string
	Frame []byte
}

const markAhead = 1 << 20

// start makes a replica of what a disk holds. The first batch, which only raises the marks, must be durable before any input.
func (r *replica) start(cfg Config, s *saved, now time.Time) *batch {
	r.cfg, r.cur = cfg, &batch{}
	r.core = newCore(&r.cfg)
	r.view = newView(max(Revision(max(now.UnixMicro(), 1)), s.marks.rev+1))
	r.core.counter = max(uint64(max(now.UnixMicro(), 1)), s.marks.counter)
	if r.cfg.Forgetful = cfg.Forgetful || s.forgot; r.cfg.Forgetful {
		r.core.counter = farFrom(r.core.counter, now) // an earlier life went on from the same marks
	}
	r.core.clock.last, r.core.forgetful = s.marks.stamp, r.cfg.Forgetful
	r.core.load(s, r.view)
	r.known.Store(&fixed{r.core.set, r.core.hello()})
	r.marks = r.ahead()
	return &batch{marks: r.marks, forgot: r.core.forgetful}
}

// ahead are marks that leave room for what comes before the next commit.
func (r *replica) ahead() marks {
	rev, _ := r.view.current()
	return marks{r.core.counter + markAhead, r.core.clock.last, rev + markAhead}
}

func (r *replica) marksNear() bool {
	rev, _ := r.view.current()
	return r.core.counter+markAhead/2 > r.marks.counter || rev+markAhead/2 > r.marks.rev
}

// step advances the core and sorts its effects: what must be durable first waits for the batch. The slice is valid until
// the next call of step, begin or committed.
func (r *replica) step(now time.Time, ev event) []Action {
	r.out = r.out[:0]
	reason := r.Health()
	if reason != nil && r.refuseWhileReadOnly(ev, reason) {
		return r.out
	}
	if ev.drop != nil {
		r.cur.drop = append(r.cur.drop, ev.drop...)
		r.cur.after = append(r.cur.after, effect{answer: &answer{id: ev.id}})
	}
	for _, e := range r.core.Step(now, ev) {
		switch {
		case e.persist != nil:
			r.cur.ops = append(r.cur.ops, diskOp{rec: e.persist})
		case e.forget != nil:
			r.cur.ops = append(r.cur.ops, diskOp{rec: e.forget, del: true})
		case e.lose != nil:
			r.cur.lose = append(r.cur.lose, e.lose)
		case e.horizon != nil:
			r.cur.horizon, r.cur.told = append(r.cur.horizon, *e.horizon), true
		case e.vouched:
			r.cur.mark, r.cur.told = true, true
		case e.learned:
			r.cur.told = true
		case e.propose != nil:
			p := e.propose
			r.out = append(r.out, Action{Ask: &Question{p.write, p.home, encodeFrame(append(p.recs[:len(p.recs):len(p.recs)], p.dead...))}})
		case !r.durable(e):
			r.perform(e, nil)
		default:
			r.cur.after = append(r.cur.after, e)
		}
	}
	r.cur.set = r.core.set
	if reason != nil {
		r.refuse(r.cur, reason)
	}
	if ev.tick {
		r.view.age(now)
	}
	r.cur.mark = r.cur.mark || ev.tick && r.marksNear()
	return r.out
}

// behind tells that the disk is to be waited for before the next input.
func (r *replica) behind() bool {
	return r.Health() == nil && (len(r.cur.ops) >= maxBatch || len(r.cur.after) >= 8*maxBatch)
}

// durable tells the effects that wait for the disk from those about kinds that live in memory only. Each of the two lanes
// keeps its order, and a key never changes lanes.
func (r *replica) durable(e effect) bool {
	switch {
	case e.show != nil:
		return r.cfg.Class(e.show.key) == Durable
	case e.publish != nil:
		return r.cfg.Class(e.publish[0].Key) == Durable
	case e.answer != nil && e.answer.key != Key{}:
		return r.cfg.Class(e.answer.key) == Durable
	}
	return true
}

func (r *replica) refuseWhileReadOnly(ev event, reason error) bool {
	if ev.judge != nil || ev.receive != nil || ev.write != nil && r.cfg.Class(ev.write.Key) == Durable {
		r.reply(answer{id: ev.id, err: reason})
		return true
	}
	return false
}

// begin takes the gathered batch for the disk where none is under way; nil where there is nothing to write, and then its
// effects are done at once.
func (r *replica) begin() (*batch, []Action) {
	r.out = r.out[:0]
	if r.inflight != nil || r.cur.empty() {
		return nil, nil
	}
	b := r.cur
	r.cur = &batch{}
	if b.hello = r.known.Load().hello; b.told {
		b.hello = r.core.hello()
	}
	if !b.dirty() {
		r.reveal(b)
		return nil, r.out
	}
	if r.marksNear() {
		r.marks = r.ahead()
	}
	r.marks.stamp = r.core.clock.last
	b.marks, b.forgot = r.marks, r.core.forgetful
	r.inflight = b
	return b, nil
}

// committed goes on after a batch: its effects, or the refusal of writes until the disk has room again (again is set: the
// same batch is to be tried once more). A fatal error means that nobody knows what is on the disk.
func (r *replica) committed(err error) (acts []Action, again bool, fatal error) {
	r.out = r.out[:0]
	b := r.inflight
	switch {
	case err == nil:
		if r.health.Swap(nil) != nil {
			r.cfg.Log.Info("the disk takes writes again")
		}
		r.inflight = nil
		r.reveal(b)
		return r.out, false, nil
	case !fullDisk(err):
		return nil, false, fmt.Errorf("store: write to disk failed, and what is on it is unknown: %w", err)
	}
	reason := fmt.Errorf("%w: %w: free space on the disk of %s, then it goes on by itself", ErrReadOnly, err, r.cfg.Dir)
	if r.health.Swap(&reason) == nil {
		r.cfg.Log.Error("writes are refused", "reason", reason)
	}
	// What was accepted stays queued and is retried; who waits for it is told that it is not durable.
	r.refuse(b, reason)
	r.refuse(r.cur, reason)
	return r.out, true, nil
}

func (r *replica) refuse(b *batch, reason error) {
	for i, e := range b.after {
		if e.answer != nil {
			r.reply(answer{id: e.answer.id, err: reason})
			b.after[i] = effect{}
		}
	}
}

// reveal does what waited for a batch to be durable.
func (r *replica) reveal(b *batch) {
	if b.dirty() || b.told {
		r.known.Store(&fixed{b.set, b.hello})
	}
	last := map[Key]*Object{}
	for _, e := range b.after {
		r.perform(e, last)
	}
}

// perform does one effect. last collects what went, for the answers to deletes.
func (r *replica) perform(e effect, last map[Key]*Object) {
	switch {
	case e.show != nil:
		ev, ok := r.view.show(e.show)
		if ok && ev.New == nil && last != nil {
			gone := *ev.Old
			gone.Rev = ev.Rev
			last[e.show.key] = &gone
		}
	case e.answer != nil:
		a := *e.answer
		if gone := last[a.key]; a.obj != nil && gone != nil {
			a.obj = gone
		}
		r.reply(a)
	case e.publish != nil && r.cfg.Publish != nil:
		for _, f := range frames(e.publish) {
			r.out = append(r.out, Action{Publish: f})
		}
	}
}

func (r *replica) reply(a answer) {
	if a.id == 0 {
		return
	}
	if a.obj == nil && a.err == nil {
		a.obj, _ = r.view.get(a.key)
		if a.wrote != nil && (a.obj == nil || a.obj.UID != a.wrote.UID) {
			a.wrote.Rev = r.view.now()
			a.obj = a.wrote
		}
	}
	if a.obj != nil && a.obj.Rev == 0 { // never shown: it was ended before
		shown := *a.obj
		_, shown.Rev = r.view.get(a.key)
		shown.Created = max(shown.Created, 1)
		a.obj = &shown
	}
	r.out = append(r.out, Action{Reply: &Reply{a.id, a.obj, a.err, a.verdict, a.current}})
}

// session begins a reconciliation from what is on disk now.
func (r *replica) session(first bool) *session {
	f := r.known.Load()
	return newSession(f.set, *f.hello, first)
}

// Health is nil, or why durable writes are refused: it wraps ErrReadOnly and says how to mend it.
func (r *replica) Health() error {
	if p := r.health.Load(); p != nil {
		return *p
	}
	return nil
}
