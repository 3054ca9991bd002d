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
	replica
	log         *slog.Logger
	disk        *disk
	poison      *poison
	quarantined string

	in      chan event
	running atomic.Bool
	stopped chan struct{} // closed when Run returned
	nextID  atomic.Uint64
	calls   sync.WaitGroup // proposals under way

	waitMu  sync.Mutex // guards waiters
	waiters map[uint64]chan *Reply
}

// ErrStopped: the store is not running (yet or any more).
var ErrStopped = errors.New("the store is not running")

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
		err := cfg.rescue(d, quarantined, cause)
		if err != nil {
			closeQuietly(d.db)
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	if quarantined == "" {
		quarantined = movedAside(cfg.Dir)
	} else {
		cfg.Forgetful = true
	}
	st := &Store{
		log: cfg.Log, disk: d, quarantined: quarantined,
		in: make(chan event, maxBacklog), stopped: make(chan struct{}), waiters: map[uint64]chan *Reply{},
	}
	st.skips = func(h hash) bool { return st.poison.skips(h, cfg.Now()) }
	if st.poison, err = openPoison(cfg.Dir, d, now); err != nil {
		closeQuietly(d.db)
		return nil, fmt.Errorf("open store: %w", err)
	}
	first := st.start(cfg, s, now)
	for _, p := range st.Poisoned() {
		cfg.Log.Error("the process ended while it merged a record, which is skipped", "hash", p.Hash, "times", p.Times, "until", p.Until)
	}
	if err := d.commit(first); err != nil {
		closeQuietly(d.db)
		st.poison.close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	return st, nil
}

// rescue keeps in lost-and-found what can still be read of a damaged file. That it cannot be read at all is no reason not to
// begin anew.
func (c Config) rescue(d *disk, quarantined string, cause error) error {
	recs, err := salvage(quarantined)
	c.Log.Error("the store's file is corrupt and was moved aside; peers will fill a new one, and what none of them has is in lost-and-found",
		"moved_to", quarantined, "cause", cause, "salvaged", len(recs), "error", err)
	return d.putSalvaged(recs)
}

// Close closes the file of a Store that never ran; after Run it does nothing.
func (s *Store) Close() error {
	if !s.running.CompareAndSwap(false, true) {
		return nil
	}
	close(s.stopped)
	s.poison.close()
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
	s.poison.close()
	if cerr := s.disk.db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close store: %w", cerr)
	}
	return err
}

// loop is the one owner of the core.
func (s *Store) loop(ctx context.Context, commits chan<- *batch, done <-chan error) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var retry <-chan time.Time
	for {
		s.commit(ctx, commits)
		in := s.in
		if s.behind() {
			in = nil
		}
		select {
		case <-ctx.Done():
			return s.finish(ctx, commits, done)
		case ev := <-in:
			for _, acts := range s.merge(s.cfg.Now(), ev) {
				s.act(ctx, acts)
			}
		case <-tick.C:
			s.act(ctx, s.step(s.cfg.Now(), event{tick: true}))
		case <-retry:
			retry = nil
			commits <- s.inflight
		case err := <-done:
			acts, again, fatal := s.committed(err)
			if fatal != nil {
				return fatal
			}
			s.act(ctx, acts)
			if again {
				retry = time.After(retryDisk)
			}
		}
	}
}

// commit starts the gathered batch.
func (s *Store) commit(ctx context.Context, commits chan<- *batch) {
	b, acts := s.begin()
	s.act(ctx, acts)
	if b != nil {
		commits <- b
	}
}

func (s *Store) act(ctx context.Context, acts []Action) {
	for _, a := range acts {
		switch {
		case a.Reply != nil:
			s.tell(a.Reply)
		case a.Publish != nil:
			s.cfg.Publish(a.Publish)
		case a.Ask != nil:
			s.propose(ctx, a.Ask)
		}
	}
}

// finish writes what was gathered before the end.
func (s *Store) finish(ctx context.Context, commits chan<- *batch, done <-chan error) error {
	for range 2 {
		s.commit(ctx, commits)
		if s.inflight == nil || s.Health() != nil {
			break
		}
		acts, _, err := s.committed(<-done)
		if err != nil {
			return fmt.Errorf("the last one: %w", err)
		}
		s.act(ctx, acts)
	}
	return nil
}

// ask hands an event to the core and waits for its answer. The event may have taken effect also where ctx ended first.
func (s *Store) ask(ctx context.Context, ev event) (*Reply, error) {
	ev.id = s.nextID.Add(1)
	reply := make(chan *Reply, 1)
	s.waitMu.Lock()
	s.waiters[ev.id] = reply
	s.waitMu.Unlock()
	defer func() {
		s.waitMu.Lock()
		delete(s.waiters, ev.id)
		s.waitMu.Unlock()
	}()
	if err := s.hand(ctx, ev); err != nil {
		return nil, err
	}
	select {
	case r := <-reply:
		return r, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.stopped:
		return nil, ErrStopped
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

func (s *Store) tell(r *Reply) {
	s.waitMu.Lock()
	ch := s.waiters[r.ID]
	delete(s.waiters, r.ID)
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

// Quarantined is the path to which this or an earlier Open moved a corrupt file, for as long as somebody leaves it there,
// or "". A store that lost its file may lack what no peer had: that it does not know an object proves nothing.
func (s *Store) Quarantined() string { return s.quarantined }

// Forgetful tells whether, as far as the disk says, this store is empty or Config.Forgetful holds still.
func (s *Store) Forgetful() bool { return s.known.Load().hello.forgetful }

// Root is the fingerprint of all durable records, tombstones included, and their number. Equal stores have equal roots.
func (s *replica) Root() ([32]byte, int) {
	set := s.known.Load().set
	return set.total().digest(set.size()), set.size()
}
