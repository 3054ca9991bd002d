package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Store is one replica: the core, and around it a real clock, a file and the mesh. All methods may be called from any
// goroutine. Get, List, Siblings, Tombstoned and Root work from Open on; whatever changes something works while Run runs.
type Store struct {
	cfg         Config
	log         *slog.Logger
	view        *view
	disk        *disk
	quarantined string

	in      chan event
	running atomic.Bool
	stopped chan struct{} // closed when Run returned
	nextID  atomic.Uint64
	set     atomic.Pointer[node[*Record]] // what is on disk
	horizon atomic.Pointer[[]horizonOf]
	health  atomic.Pointer[error]
	calls   sync.WaitGroup // proposals under way

	waitMu  sync.Mutex // guards waiters
	waiters map[uint64]chan result

	// What follows belongs to Run alone.
	core     *core
	cur      *batch
	inflight *batch
	marks    marks // as last made durable or under way
}

type result struct {
	answer
	obj *Object
}

// ErrStopped: the store is not running (yet or any more).
var ErrStopped = errors.New("the store is not running")

const markAhead = 1 << 20

// Open reads the replica in cfg.Dir, or begins an empty one. A corrupt file is moved aside (Quarantined) and the mesh
// fills the new one. Open starts nothing; call Run, or Close where Run is not going to be called.
func Open(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	now := cfg.Now()
	d, s, quarantined, cause, err := openDisk(cfg.Dir, now)
	if err != nil {
		return nil, err
	}
	if quarantined != "" {
		cfg.Log.Error("the store's file is corrupt and was moved aside; peers will fill a new one", "moved_to", quarantined, "cause", cause)
	}
	if quarantined == "" {
		quarantined = movedAside(cfg.Dir)
	}
	st := &Store{
		cfg: cfg, log: cfg.Log, disk: d, quarantined: quarantined, cur: &batch{},
		in: make(chan event, maxBacklog), stopped: make(chan struct{}), waiters: map[uint64]chan result{},
	}
	st.core = newCore(&st.cfg)
	rev := max(Revision(max(now.UnixMicro(), 1)), s.marks.rev+1)
	st.view = newView(rev)
	st.core.counter = max(uint64(max(now.UnixMicro(), 1)), s.marks.counter)
	st.core.clock.last = s.marks.stamp
	st.core.load(s, st.view)
	st.publishState(st.core.set)
	st.marks = st.ahead()
	if err := d.commit(&batch{marks: st.marks}); err != nil {
		closeQuietly(d.db)
		return nil, fmt.Errorf("open store: %w", err)
	}
	return st, nil
}

// load fills the core and the view from disk.
func (c *core) load(s *saved, v *view) {
	c.horizon = s.horizon
	c.set = grow(s.records)
	c.loading = true
	for _, part := range [...]bool{false, true} { // intents first, then what is bound to them
		for _, r := range s.records {
			if (r.Part != Intent) == part {
				c.restore(r)
			}
		}
	}
	c.loading = false
	c.out = c.out[:0]
	for _, k := range c.touched {
		e := c.entries[k]
		if o := e.project(); o != nil {
			v.load(o)
		}
		for _, l := range e.lives {
			if l.dead() {
				v.dead[l.uid] = struct{}{}
			}
		}
	}
	v.arrange()
	clear(c.acted)
	c.touched = nil
}

// restore takes a record from disk, which is in the set already, and out of the set again where it does not count.
func (c *core) restore(r *Record) {
	c.out = c.out[:0]
	if r.Dot.Actor == c.self {
		c.counter = max(c.counter, r.Dot.N)
	}
	c.clock.observe(r.Stamp)
	counts := false
	if r.Part == Intent {
		counts = c.mergeIntent(time.Time{}, r)
	} else if l := c.lives[r.UID]; l != nil {
		counts = c.mergePart(l, r)
	}
	if !counts {
		c.set = c.set.without(r)
	}
}

// ahead are marks that leave room for what comes before the next commit.
func (s *Store) ahead() marks {
	rev, _ := s.view.current()
	return marks{s.core.counter + markAhead, s.core.clock.last, rev + markAhead}
}

// Close closes the file of a Store that never ran; after Run it does nothing.
func (s *Store) Close() error {
	if !s.running.CompareAndSwap(false, true) {
		return nil
	}
	close(s.stopped)
	if err := s.disk.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Run drives the replica until ctx ends (nil) or the disk failed in a way that must not be retried. It closes the file.
func (s *Store) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("store: Run was called twice, or after Close")
	}
	commits, done := make(chan *batch, 1), make(chan error, 1)
	var writer sync.WaitGroup
	writer.Go(func() {
		for b := range commits {
			done <- s.disk.commit(b)
		}
	})
	err := s.loop(ctx, commits, done)
	close(commits)
	writer.Wait()
	close(s.stopped)
	s.calls.Wait()
	s.abandon()
	if cerr := s.disk.db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close store: %w", cerr)
	}
	return err
}

// loop is the one owner of the core. At most one transaction is under way; meanwhile the next one gathers, which is what
// makes commits come in groups without making a lone write wait.
func (s *Store) loop(ctx context.Context, commits chan<- *batch, done <-chan error) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var retry <-chan time.Time
	for {
		if s.inflight == nil {
			s.begin(commits)
		}
		in := s.in
		if s.Health() == nil && (len(s.cur.ops) >= maxBatch || len(s.cur.after) >= 8*maxBatch) {
			in = nil // the disk is behind
		}
		select {
		case <-ctx.Done():
			return s.finish(commits, done)
		case ev := <-in:
			s.step(ctx, ev)
		case <-tick.C:
			s.step(ctx, event{tick: true})
		case <-retry:
			retry = nil
			commits <- s.inflight
		case err := <-done:
			again, err := s.committed(ctx, err)
			if err != nil {
				return err
			}
			if again {
				retry = time.After(retryDisk)
			}
		}
	}
}

// begin starts the gathered transaction, or does its effects at once where there is nothing to write.
func (s *Store) begin(commits chan<- *batch) {
	if s.cur.empty() {
		return
	}
	b := s.cur
	s.cur = &batch{}
	if !b.dirty() {
		s.reveal(b)
		return
	}
	if s.marksNear() {
		s.marks = s.ahead()
	}
	s.marks.stamp = s.core.clock.last
	b.marks = s.marks
	s.inflight = b
	commits <- b
}

// step advances the core and sorts its effects: what must be durable first waits for the transaction.
func (s *Store) step(ctx context.Context, ev event) {
	if reason := s.Health(); reason != nil && s.refuseWhileReadOnly(ev, reason) {
		return
	}
	for _, e := range s.core.Step(s.cfg.Now(), ev) {
		switch {
		case e.persist != nil:
			s.cur.ops = append(s.cur.ops, diskOp{rec: e.persist})
		case e.forget != nil:
			s.cur.ops = append(s.cur.ops, diskOp{rec: e.forget, del: true})
		case e.lose != nil:
			s.cur.lose = append(s.cur.lose, e.lose)
		case e.horizon != nil:
			s.cur.horizon = append(s.cur.horizon, *e.horizon)
		case e.propose != nil:
			s.propose(ctx, e.propose)
		case !s.durable(e):
			s.perform(e, nil)
		default:
			s.cur.after = append(s.cur.after, e)
		}
	}
	s.cur.set = s.core.set
	if reason := s.Health(); reason != nil {
		s.cur.refuse(s, reason)
	}
	s.cur.mark = s.cur.mark || ev.tick && s.marksNear()
	if len(s.cur.horizon) > 0 {
		s.publishHorizon()
	}
}

// durable tells the effects that wait for the disk from those about kinds that live in memory only. Each of the two lanes
// keeps its order, and a key never changes lanes.
func (s *Store) durable(e effect) bool {
	switch {
	case e.show != nil:
		return s.cfg.Class(e.show.key.Kind) == Durable
	case e.publish != nil:
		return s.cfg.Class(e.publish[0].Kind) == Durable
	case e.answer != nil && e.answer.key != Key{}:
		return s.cfg.Class(e.answer.key.Kind) == Durable
	}
	return true
}

func (s *Store) marksNear() bool {
	rev, _ := s.view.current()
	return s.core.counter+markAhead/2 > s.marks.counter || rev+markAhead/2 > s.marks.rev
}

func (s *Store) refuseWhileReadOnly(ev event, reason error) bool {
	if ev.judge != nil || ev.receive != nil || ev.write != nil && s.cfg.Class(ev.write.Kind) == Durable {
		s.reply(answer{id: ev.id, err: reason})
		return true
	}
	return false
}

// committed goes on after a transaction: its effects, or the refusal of writes until the disk has room again.
func (s *Store) committed(_ context.Context, err error) (again bool, fatal error) {
	b := s.inflight
	switch {
	case err == nil:
		if s.health.Swap(nil) != nil {
			s.log.Info("the disk takes writes again")
		}
		s.inflight = nil
		s.reveal(b)
		return false, nil
	case !fullDisk(err):
		return false, fmt.Errorf("store: write to disk failed, and what is on it is unknown: %w", err)
	}
	reason := fmt.Errorf("%w: %w: free space on the disk of %s, then it goes on by itself", ErrReadOnly, err, s.cfg.Dir)
	if s.health.Swap(&reason) == nil {
		s.log.Error("writes are refused", "reason", reason)
	}
	// What was accepted stays queued and is retried; who waits for it is told that it is not durable.
	b.refuse(s, reason)
	s.cur.refuse(s, reason)
	return true, nil
}

func (b *batch) refuse(s *Store, reason error) {
	for i, e := range b.after {
		if e.answer != nil {
			s.reply(answer{id: e.answer.id, err: reason})
			b.after[i] = effect{}
		}
	}
}

// finish writes what was gathered before the end.
func (s *Store) finish(commits chan<- *batch, done <-chan error) error {
	for range 2 {
		if s.inflight == nil {
			s.begin(commits)
		}
		if s.inflight == nil || s.Health() != nil {
			break
		}
		err := <-done
		if err != nil {
			return fmt.Errorf("store: last write to disk: %w", err)
		}
		b := s.inflight
		s.inflight = nil
		s.reveal(b)
	}
	return nil
}

// reveal does what waited for a batch to be durable.
func (s *Store) reveal(b *batch) {
	if b.dirty() {
		s.publishState(b.set)
	}
	last := map[Key]*Object{}
	for _, e := range b.after {
		s.perform(e, last)
	}
}

// perform does one effect. last collects what went, for the answers to deletes.
func (s *Store) perform(e effect, last map[Key]*Object) {
	switch {
	case e.show != nil:
		ev, ok := s.view.show(e.show)
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
		s.reply(a)
	case e.publish != nil && s.cfg.Publish != nil:
		for _, f := range frames(e.publish) {
			s.cfg.Publish(f)
		}
	}
}

func (s *Store) publishState(set *node[*Record]) {
	s.set.Store(set)
	if s.horizon.Load() == nil {
		s.publishHorizon()
	}
}

// ask hands an event to the core and waits for its answer. The event may have taken effect also where ctx ended first.
func (s *Store) ask(ctx context.Context, ev event) (result, error) {
	ev.id = s.nextID.Add(1)
	reply := make(chan result, 1)
	s.waitMu.Lock()
	s.waiters[ev.id] = reply
	s.waitMu.Unlock()
	defer func() {
		s.waitMu.Lock()
		delete(s.waiters, ev.id)
		s.waitMu.Unlock()
	}()
	if err := s.hand(ctx, ev); err != nil {
		return result{}, err
	}
	select {
	case r := <-reply:
		return r, r.err
	case <-ctx.Done():
		return result{}, ctx.Err()
	case <-s.stopped:
		return result{}, ErrStopped
	}
}

func (s *Store) hand(ctx context.Context, ev event) error {
	if !s.running.Load() {
		return ErrStopped
	}
	select {
	case s.in <- ev:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ErrStopped
	}
}

func (s *Store) reply(a answer) {
	if a.id == 0 {
		return
	}
	r := result{answer: a, obj: a.obj}
	if r.obj == nil && a.err == nil {
		r.obj, _ = s.view.get(a.key)
	}
	s.waitMu.Lock()
	ch := s.waiters[a.id]
	delete(s.waiters, a.id)
	s.waitMu.Unlock()
	if ch != nil {
		ch <- r
	}
}

func (s *Store) abandon() {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	clear(s.waiters)
}

// Health is nil, or why durable writes are refused: it wraps ErrReadOnly and says how to mend it.
func (s *Store) Health() error {
	if p := s.health.Load(); p != nil {
		return *p
	}
	return nil
}

// Quarantined is the path to which this or an earlier Open moved a corrupt file, for as long as somebody leaves it there,
// or "". A store that lost its file may lack what no peer had: that it does not know an object proves nothing.
func (s *Store) Quarantined() string { return s.quarantined }

// Root is the fingerprint of all durable records, tombstones included, and their number. Equal stores have equal roots.
func (s *Store) Root() ([32]byte, int) {
	set := s.set.Load()
	return set.total().digest(set.size()), set.size()
}
