package store

import (
	"context"
	"slices"
	"sync"
)

// Subscription delivers the changes of one selector in order. Next is for one goroutine at a time; Close may be called
// from any, more than once.
type Subscription struct {
	Initial []*Object // with a snapshot: the state at Rev, sorted by namespace and name
	Rev     Revision  // events follow from here

	view *view
	sel  Selector
	wake chan struct{} // 1 deep

	mu    sync.Mutex // guards what follows
	queue []Event
	lost  bool
	ended bool
}

// Subscribe begins with the present state where snapshot is set, else with the first change after from; 0 means from now.
// The start is atomic with the state: nothing is missed and nothing comes twice.
func (s *replica) Subscribe(sel Selector, from Revision, snapshot bool) (*Subscription, error) {
	v := s.view
	v.mu.Lock()
	defer v.mu.Unlock()
	sub := &Subscription{Rev: v.rev, view: v, sel: sel, wake: make(chan struct{}, 1)}
	switch {
	case snapshot:
		sub.Initial, _ = list(v.kinds[sel.Kind], sel, ListOptions{})
	case from != 0:
		if err := v.holds(from); err != nil {
			return nil, err
		}
		sub.Rev, sub.queue = from, v.since(sel, from)
		if len(sub.queue) > 0 {
			sub.wake <- struct{}{}
		}
	}
	v.subs[sel.Kind] = append(v.subs[sel.Kind], sub)
	return sub, nil
}

// Next blocks until there are events and returns all there are. ErrCompacted: the subscriber was too slow and has to list
// anew. ctx's error, or context.Canceled after Close.
func (sub *Subscription) Next(ctx context.Context) ([]Event, error) {
	for {
		if evs, err := sub.take(); len(evs) > 0 || err != nil {
			return evs, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-sub.wake:
		}
	}
}

func (sub *Subscription) take() ([]Event, error) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	switch {
	case sub.ended:
		return nil, context.Canceled
	case sub.lost:
		return nil, ErrCompacted
	}
	evs := sub.queue
	sub.queue = nil
	return evs, nil
}

func (sub *Subscription) push(ev Event) {
	sub.mu.Lock()
	if len(sub.queue) >= maxQueued {
		sub.lost, sub.queue = true, nil
	}
	if !sub.lost && !sub.ended {
		sub.queue = append(sub.queue, ev)
	}
	sub.mu.Unlock()
	select {
	case sub.wake <- struct{}{}:
	default:
	}
}

// Close ends the subscription and wakes Next.
func (sub *Subscription) Close() {
	v := sub.view
	v.mu.Lock()
	v.subs[sub.sel.Kind] = slices.DeleteFunc(v.subs[sub.sel.Kind], func(o *Subscription) bool { return o == sub })
	v.mu.Unlock()
	sub.mu.Lock()
	sub.ended, sub.queue = true, nil
	sub.mu.Unlock()
	select {
	case sub.wake <- struct{}{}:
	default:
	}
}
