package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// view is what readers see: rows of immutable objects in one ordered tree per kind, the log of the latest changes, and the
// subscriptions. Whatever is in it is on disk already. Its order of changes is that of the core's effects.
type view struct {
	mu     sync.RWMutex
	rev    Revision
	oldest Revision // changes up to and including this one are not in log
	kinds  map[string]*node[*row]
	log    []change // from first on, the oldest first
	first  int
	held   int   // bytes, by weigh
	eras   []era // what the revision was, at times at least a step apart, the oldest first
	subs   map[string][]*Subscription
	dead   map[UID]struct{}
	buried []UID
	others map[Key]*Object // objects with siblings
	loaded []*row          // while opening
}

func newView(rev Revision) *view {
	return &view{
		rev: rev, oldest: rev, kinds: map[string]*node[*row]{}, subs: map[string][]*Subscription{},
		dead: map[UID]struct{}{}, others: map[Key]*Object{},
	}
}

func (o *Object) compare(p *Object) int {
	if c := strings.Compare(o.Namespace, p.Namespace); c != 0 {
		return c
	}
	return strings.Compare(o.Name, p.Name)
}

// show applies one change and returns the event that it made; ok is false where nothing visible changed.
func (v *view) show(s *shown) (ev Event, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bury(s)
	if s.only {
		return ev, false
	}
	old, _ := v.kinds[s.key.Kind].get(probe(s.key))
	if old == nil && s.row == nil || old != nil && s.row != nil && old.same(s.row) {
		return ev, false
	}
	return v.change(old, s.row), true
}

// touch gives objects a new revision and changes nothing else.
func (v *view) touch(keys []Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range keys {
		if old, ok := v.kinds[k.Kind].get(probe(k)); ok {
			v.change(old, old)
		}
	}
}

func (v *view) change(old, next *row) Event {
	v.rev++
	kind := ""
	if next != nil {
		kind = next.key().Kind
		created := v.rev
		if old != nil && old.sameLife(next) {
			created = old.created
		}
		next = next.at(v.rev, created)
		v.kinds[kind] = v.kinds[kind].with(next)
	} else {
		kind = old.key().Kind
		v.kinds[kind] = v.kinds[kind].without(old)
	}
	c := change{rev: v.rev, old: old, new: next}
	k, ev := c.key(), c.event()
	if delete(v.others, k); next != nil && len(ev.New.Others) > 0 {
		v.others[k] = ev.New
	}
	v.append(c)
	for _, sub := range v.subs[kind] {
		if sub.sel.matches(k) {
			sub.push(ev)
		}
	}
	return ev
}

func (v *view) append(c change) {
	v.log = append(v.log, c)
	v.held += c.weigh()
	for len(v.log)-v.first > maxLog || v.held > maxLogBytes && len(v.log)-v.first > 1 {
		v.forget()
	}
	v.compact()
}

// era is a moment in the view's life.
type era struct {
	at  time.Time
	rev Revision
}

// age lets go of events that are older than maxLogAge, but for the latest minLog. It is called now and then; events live on until then,
// and for up to a tenth longer.
func (v *view) age(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.eras); n == 0 || now.Sub(v.eras[n-1].at).Abs() >= maxLogAge/10 {
		v.eras = append(v.eras, era{now, v.rev})
	}
	for len(v.eras) > 0 && now.Sub(v.eras[0].at).Abs() >= maxLogAge { // a clock that was set back must not keep them for ever
		for len(v.log)-v.first > minLog && v.log[v.first].rev <= v.eras[0].rev {
			v.forget()
		}
		v.eras = v.eras[1:]
	}
	v.compact()
}

// forget drops the oldest event.
func (v *view) forget() {
	oldest := &v.log[v.first]
	v.oldest, v.held = oldest.rev, v.held-oldest.weigh()
	*oldest = change{}
	v.first++
}

func (v *view) compact() {
	if v.first > len(v.log)/2 && v.first > 1024 {
		v.log, v.first = slices.Delete(v.log, 0, v.first), 0
	}
}

// load puts a new row there without an event: before anybody watches. arrange must follow the last one.
func (v *view) load(r *row) {
	r.rev, r.created = v.rev, v.rev
	v.loaded = append(v.loaded, r)
	if o := r.whole; o != nil {
		if o.Rev, o.Created = v.rev, v.rev; len(o.Others) > 0 {
			v.others[o.Key] = o
		}
	}
}

// arrange builds the trees of what was loaded.
func (v *view) arrange() {
	slices.SortFunc(v.loaded, func(a, b *row) int {
		if c := strings.Compare(a.key().Kind, b.key().Kind); c != 0 {
			return c
		}
		return a.compare(b)
	})
	for rest := v.loaded; len(rest) > 0; {
		kind := rest[0].key().Kind
		n := 1
		for n < len(rest) && rest[n].key().Kind == kind {
			n++
		}
		v.kinds[kind] = grow(rest[:n])
		rest = rest[n:]
	}
	v.loaded = nil
}

func (v *view) bury(s *shown) {
	for _, u := range s.dead {
		v.dead[u] = struct{}{}
	}
	for _, u := range s.back {
		delete(v.dead, u)
	}
	v.buried = append(v.buried, s.purged...)
	for len(v.buried) > maxBuried {
		delete(v.dead, v.buried[0])
		v.buried = v.buried[1:]
	}
}

func (v *view) get(k Key) (*Object, Revision) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	r, _ := v.kinds[k.Kind].get(probe(k))
	return r.object(), v.rev
}

func (v *view) now() Revision {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.rev
}

// state is a kind's tree as it was at a revision.
func (v *view) state(kind string, at Revision) (*node[*row], Revision, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.kinds[kind]
	if at == 0 || at == v.rev {
		return t, v.rev, nil
	}
	if err := v.holds(at); err != nil {
		return nil, 0, err
	}
	for i := len(v.log) - 1; i >= v.first; i-- {
		c := v.log[i]
		switch {
		case c.rev <= at:
			return t, at, nil
		case c.key().Kind != kind:
		case c.old != nil:
			t = t.with(c.old)
		default:
			t = t.without(c.new)
		}
	}
	return t, at, nil
}

// holds reports whether every change after at is in the log.
func (v *view) holds(at Revision) error {
	switch {
	case at > v.rev:
		return fmt.Errorf("revision %d, the present one is %d: %w", at, v.rev, ErrFuture)
	case at < v.oldest:
		return fmt.Errorf("revision %d, the oldest kept is %d: %w", at, v.oldest, ErrCompacted)
	}
	return nil
}

func (v *view) since(sel Selector, from Revision) []Event {
	var out []Event
	for _, c := range v.log[v.first:] {
		if c.rev > from && sel.matches(c.key()) {
			out = append(out, c.event())
		}
	}
	return out
}

func (s Selector) matches(k Key) bool {
	return s.Kind == k.Kind && (s.Namespace == "" || s.Namespace == k.Namespace) && (s.Name == "" || s.Name == k.Name)
}

// list reads one page off a kind's tree.
func list(t *node[*row], sel Selector, o ListOptions) (objs []*Object, total int) {
	lo, hi := 0, t.size()
	if sel.Namespace != "" {
		lo, _ = t.before(probe(Key{Namespace: sel.Namespace}))
		hi, _ = t.before(probe(Key{Namespace: sel.Namespace + "\x00"}))
	}
	if o.After != "" {
		ns, name, ok := strings.Cut(o.After, "/")
		if !ok {
			ns, name = "", o.After
		}
		after, _ := t.before(probe(Key{Namespace: ns, Name: name + "\x00"}))
		lo = max(lo, after)
	}
	if sel.Name == "" {
		end := hi
		if o.Limit > 0 {
			end = min(hi, lo+o.Limit)
		}
		objs = make([]*Object, 0, max(end-lo, 0))
		t.slice(lo, end, func(x *row) bool { objs = append(objs, x.object()); return true })
		return objs, max(hi-lo, 0)
	}
	t.slice(lo, hi, func(x *row) bool {
		if x.key().Name == sel.Name {
			if total++; o.Limit == 0 || len(objs) < o.Limit {
				objs = append(objs, x.object())
			}
		}
		return true
	})
	return objs, total
}
