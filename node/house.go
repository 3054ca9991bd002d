package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/pprof"
	"slices"
	"sync"
	"syscall"
	"time"
)

// house is where the rooms of a daemon run. It is emptied from the top, floor by floor; the next is told to end when all
// rooms of the one above have ended:
//
//	doors   what lets requests in: they let go of their clients while all that a running request needs still works
//	rooms   API, controllers, agent …
//	names   DNS, which running requests need
//	ground  the mesh: with it this server goes out of the others' sight. What comes after its farewell counts as absence,
//	        and the others replace the pods of a server that is absent for longer than a restart takes
//
// The first room that fails empties the house in the same order. For a successor doors and names end last: clients were asked to let go
// before, and from their end on strangers wait until the next image is ready. They work from what they were told.
type house struct {
	log                         *slog.Logger
	doors, rooms, names, ground *floor

	ctx   context.Context // ends when the house is to be emptied
	close context.CancelCauseFunc

	haunted []string // rooms that were left behind. Read it when the house is empty
}

// floor holds the rooms that end together.
type floor struct {
	house *house
	ctx   context.Context // of its rooms
	end   context.CancelFunc

	mu    sync.Mutex // guards shut against work.Add, and inUse
	shut  bool
	inUse map[string]bool // names of rooms
	work  sync.WaitGroup
}

// Bounds of one floor's end.
const (
	floorEnd  = 10 * time.Second // for a successor: the store survives harder ends
	lastEnd   = time.Minute      // of a daemon that stops; requests that run may take 25 s of it
	suspicion = 28 * time.Second // after which what goes on is logged
)

func newHouse(ctx context.Context, log *slog.Logger) *house {
	h := &house{log: log}
	h.ctx, h.close = context.WithCancelCause(ctx)
	for _, f := range []**floor{&h.doors, &h.rooms, &h.names, &h.ground} {
		*f = &floor{house: h, inUse: map[string]bool{}}
		(*f).ctx, (*f).end = context.WithCancel(context.WithoutCancel(ctx))
	}
	return h
}

// empty waits until the house is to be emptied, empties it and returns why: nil when its context ended. Goroutines are all
// over then, but those of rooms that did not end within a minute.
func (h *house) empty() error {
	<-h.ctx.Done()
	var why failure
	errors.As(context.Cause(h.ctx), &why)
	if errors.Is(why.error, ErrSucceeded) {
		for _, f := range []*floor{h.rooms, h.ground, h.doors, h.names} {
			f.empty(floorEnd)
		}
		return why.error
	}
	for _, f := range []*floor{h.doors, h.rooms, h.names, h.ground} {
		f.empty(lastEnd)
	}
	return why.error
}

// empty ends the rooms and waits for them, no longer than bound: whoever waits for this daemon's end waits in vain otherwise. What
// does not end is named, with what its goroutines do.
func (f *floor) empty(bound time.Duration) {
	f.mu.Lock()
	f.shut = true
	f.mu.Unlock()
	f.end()
	ended := make(chan struct{})
	go func() { f.work.Wait(); close(ended) }()
	leave, suspect := time.NewTimer(bound), time.NewTimer(min(bound/2, suspicion))
	defer leave.Stop()
	defer suspect.Stop()
	for {
		select {
		case <-ended:
			return
		case <-suspect.C:
			var stacks bytes.Buffer
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1) // a buffer takes all
			f.house.log.Error("rooms do not end", "rooms", f.left(), "goroutines", stacks.String())
		case <-leave.C:
			left := f.left()
			f.house.haunted = append(f.house.haunted, left...)
			f.house.log.Error("rooms are left behind", "rooms", left, "after", bound)
			return
		}
	}
}

// left are the rooms that have not ended.
func (f *floor) left() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.inUse))
}

// failure is a cause to empty the house; whatever else ends its context is an order.
type failure struct{ error }

// Go runs do beside the rooms of its floor, which wait for it. An error empties the house. When the floor is being emptied
// nothing is begun any more.
func (f *floor) Go(do func(ctx context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return
	}
	f.work.Go(func() {
		if err := do(f.ctx); err != nil {
			f.house.close(failure{err})
		}
	})
}

// open runs a room. One that ends before its time ends the daemon, and says so before the others are swept along.
func (f *floor) open(name string, run func(context.Context) error) {
	f.mu.Lock()
	f.inUse[name] = true
	f.mu.Unlock()
	f.Go(func(ctx context.Context) error {
		err := run(ctx)
		f.mu.Lock()
		delete(f.inUse, name)
		f.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			err = errors.New("it ended by itself")
		case errors.Is(err, syscall.EADDRINUSE):
			err = fmt.Errorf("%w: %s", err, wayOut(name))
		}
		f.house.log.Error("a room failed, the daemon ends", "room", name, "error", err)
		return fmt.Errorf("%s: %w", name, err)
	})
}

// wayOut is what helps against an address that is taken, by the room that cannot be without it.
func wayOut(room string) string {
	if setting := map[string]string{"mesh": "listen", "api": "api-listen", "streaming": "streaming-listen"}[room]; setting != "" {
		return "free the address or set " + setting + " to another"
	}
	return "free the address"
}
