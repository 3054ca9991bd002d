// Package memory is a store of one process for tests of the API: the doors of the replicated store, exactly, without disk,
// network or merge.
package memory

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

const queueBound = 20000

// Store implements replica.Store.
type Store struct {
	mu      sync.Mutex // guards what follows
	refusal error
	rev     store.Revision
	oldest  store.Revision // watches and lists can go back to it
	log     []store.Event
	objects map[store.Key]*store.Object
	dead    map[string]bool
	subs    map[*events]struct{}
}

// New starts at a revision that no zero value equals.
func New() *Store {
	return &Store{rev: 1000, oldest: 1000, objects: map[store.Key]*store.Object{}, dead: map[string]bool{}, subs: map[*events]struct{}{}}
}

func (s *Store) Get(k store.Key) (*store.Object, store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[k], s.rev
}

func (s *Store) Rev() store.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev
}

func (s *Store) Tombstoned(uid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead[uid]
}

func match(sel store.Selector, k store.Key) bool {
	return sel.Kind == k.Kind && (sel.Namespace == "" || sel.Namespace == k.Namespace) && (sel.Name == "" || sel.Name == k.Name)
}

func order(a, b *store.Object) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func (s *Store) List(sel store.Selector, o store.ListOptions) ([]*store.Object, store.Revision, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rev := s.rev
	if o.At != 0 {
		if o.At > s.rev {
			return nil, s.rev, 0, store.ErrFuture
		}
		if o.At < s.oldest {
			return nil, s.rev, 0, store.ErrCompacted
		}
		rev = o.At
	}
	then := map[store.Key]*store.Object{}
	for k, v := range s.objects {
		then[k] = v
	}
	for i := len(s.log) - 1; i >= 0 && s.log[i].Rev > rev; i-- {
		if e := s.log[i]; e.Old == nil {
			delete(then, e.New.Key)
		} else {
			then[e.Old.Key] = e.Old
		}
	}
	var out []*store.Object
	ns, name, namespaced := strings.Cut(o.After, "/")
	if !namespaced {
		ns, name = "", ns
	}
	last := &store.Object{Key: store.Key{Namespace: ns, Name: name}}
	for k, v := range then {
		if match(sel, k) && (o.After == "" || order(v, last) > 0) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, order)
	total := len(out)
	if o.Limit > 0 && len(out) > o.Limit {
		out = out[:o.Limit]
	}
	return out, rev, total, nil
}

// Write applies a change at once.
func (s *Store) Write(ctx context.Context, w store.Write) (*store.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cur := s.objects[w.Key]
	switch {
	case s.refusal != nil:
		return nil, s.refusal
	case len(w.Body) > store.MaxBody:
		return nil, fmt.Errorf("write %v: %w", w.Key, store.ErrTooLarge)
	case w.Base == nil && cur != nil:
		return nil, store.ErrExists
	case w.Base != nil && (cur == nil || cur.UID != w.Base.UID):
		return nil, store.ErrGone
	case w.Base != nil && string(cur.Bodies[w.Part]) != string(w.Base.Bodies[w.Part]):
		return nil, store.ErrConflict
	case w.Op == store.Delete:
		s.dead[cur.UID] = true
		delete(s.objects, w.Key)
		s.emit(store.Event{Old: cur})
		return cur, nil
	}
	next := &store.Object{Key: w.Key, Root: w.Root, Created: s.rev + 1, UID: uid(w.Key, s.dead)}
	if cur != nil {
		c := *cur
		next = &c
	} else if next.Root == (store.Key{}) {
		next.Root = w.Key
	}
	next.Rev = s.rev + 1
	next.Bodies[w.Part] = w.Body
	if w.Part == store.Intent {
		next.Head, next.Human = w.Head, w.Human
	}
	s.objects[w.Key] = next
	s.emit(store.Event{Old: cur, New: next})
	return next, nil
}

// uid depends on the key and on those that died, as in the replicated store.
func uid(k store.Key, dead map[string]bool) string {
	for life := 0; ; life++ {
		h := sha256.Sum256(fmt.Appendf(nil, "%v %d", k, life))
		if id := fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]); !dead[id] {
			return id
		}
	}
}

// ReadOnlyFrom makes every Write fail with err from now on; nil takes it back.
func (s *Store) ReadOnlyFrom(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = err
}

func (s *Store) emit(e store.Event) {
	s.rev++
	e.Rev = s.rev
	s.log = append(s.log, e)
	for sub := range s.subs {
		sub.offer(e)
	}
}

func (s *Store) Touch(keys ...store.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if cur := s.objects[k]; cur != nil {
			next := *cur
			next.Rev = s.rev + 1
			s.objects[k] = &next
			s.emit(store.Event{Old: cur, New: &next})
		}
	}
}

// Compact forgets what came before a revision.
func (s *Store) Compact(to store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest = max(s.oldest, to)
	s.log = slices.DeleteFunc(s.log, func(e store.Event) bool { return e.Rev <= to })
}

func (s *Store) Subscribe(sel store.Selector, from store.Revision, snapshot bool) (replica.Subscription, error) {
	var initial []*store.Object
	rev := from
	if snapshot {
		initial, rev, _, _ = s.List(sel, store.ListOptions{})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev > s.rev {
		return replica.Subscription{}, store.ErrFuture
	}
	if rev < s.oldest {
		return replica.Subscription{}, store.ErrCompacted
	}
	e := &events{s: s, sel: sel, wake: make(chan struct{}, 1)}
	for _, ev := range s.log {
		if ev.Rev > rev {
			e.offer(ev)
		}
	}
	s.subs[e] = struct{}{}
	return replica.Subscription{Initial: initial, Rev: rev, Events: e}, nil
}

type events struct {
	s    *Store
	sel  store.Selector
	wake chan struct{}

	mu    sync.Mutex // guards what follows
	queue []store.Event
	over  bool
}

func (e *events) offer(ev store.Event) {
	o := ev.New
	if o == nil {
		o = ev.Old
	}
	if !match(e.sel, o.Key) {
		return
	}
	e.mu.Lock()
	if e.over = e.over || len(e.queue) >= queueBound; !e.over {
		e.queue = append(e.queue, ev)
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *events) Next(ctx context.Context) ([]store.Event, error) {
	for {
		e.mu.Lock()
		q, over := e.queue, e.over
		e.queue = nil
		e.mu.Unlock()
		if len(q) > 0 {
			return q, nil
		}
		if over {
			return nil, store.ErrCompacted
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-e.wake:
		}
	}
}

func (e *events) Close() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	delete(e.s.subs, e)
}
