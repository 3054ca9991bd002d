package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// object is what every API object is.
type object interface {
	runtime.Object
	metav1.Object
}

// lens decides how an object looks to one controller. Its methods are called by one goroutine at a time.
type lens interface {
	// show returns nil for what the controller must not see, raw itself, or a changed copy. It never modifies raw.
	show(raw object) object
	// same tells whether two objects of one resourceVersion look alike through this lens.
	same(a, b object) bool
	// gone tells that an object does not exist any more.
	gone(key string)
	// stale reports, once, that earlier answers of show may have changed by what it saw since.
	stale() bool
}

// view is a source of one kind of objects, seen through a lens. It is the ListerWatcher of an informer: besides what
// happens to the objects it emits what the lens makes of them after a change of heart (refresh), as ordinary watch
// events: ADDED and DELETED where an object came into sight or went out of it, MODIFIED where it looks different. Those
// carry the object's own resourceVersion and are followed by a bookmark with the newest one, since upstream's controllers
// compare an informer's version with that of their own writes.
//
//	            refresh ─┐
//	API ─► watch ─► pump ┴► take / relist / again ─► events ─► reflector ─► informer
//
// A view that hides objects does not keep them and lists them again to refresh; one that hides nothing looks again at
// what it has. Refreshing happens inside a running watch, because a reflector that is sent back to its list waits for up
// to 30 s before it does so.
type view struct {
	source cache.ListerWatcherWithContext
	blank  func() object
	slim   func(object)
	lens   lens
	hides  bool
	wake   chan wake // of one element
	retry  time.Duration

	mu    sync.Mutex // guards what is below
	known map[string]sight
	rv    string
}

// sight is an object and how it was last shown.
type sight struct{ raw, shown object }

// wake asks for a refresh; with poke everything is shown again, changed or not, so that its controller tries again.
type wake struct{ poke bool }

func newView(source cache.ListerWatcherWithContext, blank func() object, slim func(object), l lens, hides bool) *view {
	return &view{source: source, blank: blank, slim: slim, lens: l, hides: hides,
		wake: make(chan wake, 1), retry: 250 * time.Millisecond, known: map[string]sight{}}
}

// refresh makes a running watch look again. It never blocks.
func (v *view) refresh(w wake) {
	for {
		select {
		case v.wake <- w:
			return
		default:
		}
		select {
		case before := <-v.wake:
			w.poke = w.poke || before.poke
		default:
		}
	}
}

// IsWatchListSemanticsUnSupported keeps the reflector to list and watch, which the view knows how to serve.
func (v *view) IsWatchListSemanticsUnSupported() bool { return true }

func (v *view) List(o metav1.ListOptions) (runtime.Object, error) {
	return v.ListWithContext(context.Background(), o)
}

func (v *view) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return v.WatchWithContext(context.Background(), o)
}

// ListWithContext lists what is in sight.
func (v *view) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	list, items, rv, err := v.fetch(ctx, o)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.replace(items, rv, false)
	shown := make([]runtime.Object, 0, len(v.known))
	for _, raw := range items {
		if s, ok := v.known[keyOf(raw)]; ok {
			shown = append(shown, s.shown)
		}
	}
	v.mu.Unlock()
	return list, meta.SetList(list, shown)
}

// WatchWithContext continues after the last list, wherever the reflector believes to be.
func (v *view) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	v.mu.Lock()
	if v.rv != "" {
		o.ResourceVersion = v.rv
	}
	v.mu.Unlock()
	inner, err := v.source.WatchWithContext(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &pump{view: v, inner: inner, options: o, events: make(chan watch.Event)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.done.Add(1)
	go p.run()
	return p, nil
}

func (v *view) fetch(ctx context.Context, o metav1.ListOptions) (list runtime.Object, items []object, rv string, err error) {
	if list, err = v.source.ListWithContext(ctx, o); err != nil {
		return nil, nil, "", err
	}
	l, err := meta.ListAccessor(list)
	if err != nil {
		return nil, nil, "", err
	}
	if l.GetContinue() != "" {
		return nil, nil, "", errors.New("the list came in pages, which a view does not join")
	}
	all, err := meta.ExtractList(list)
	if err != nil {
		return nil, nil, "", err
	}
	items = make([]object, 0, len(all))
	for _, it := range all {
		o, ok := it.(object)
		if !ok {
			return nil, nil, "", fmt.Errorf("a %T in a list has no metadata", it)
		}
		v.slim(o)
		items = append(items, o)
	}
	return list, items, l.GetResourceVersion(), nil
}

// replace makes items all that there is and returns the events that lead there. v.mu is held.
func (v *view) replace(items []object, rv string, poke bool) []watch.Event {
	var events []watch.Event
	there := make(map[string]bool, len(items))
	for _, raw := range items {
		there[keyOf(raw)] = true
	}
	for key, s := range v.known {
		if !there[key] {
			events = append(events, v.drop(key, s.shown))
			v.lens.gone(key)
		}
	}
	byVersion(items)
	for _, raw := range items {
		events = append(events, v.put(raw, poke)...)
	}
	v.rv = rv
	if v.lens.stale() {
		events = append(events, v.again(false)...)
	}
	return events
}

// put shows an object that exists. v.mu is held.
func (v *view) put(raw object, always bool) []watch.Event {
	key := keyOf(raw)
	before, had := v.known[key]
	shown := v.lens.show(raw)
	switch {
	case shown == nil && !had:
		return nil
	case shown == nil:
		return []watch.Event{v.drop(key, before.shown)}
	}
	v.known[key] = sight{raw, shown}
	switch {
	case !had:
		return []watch.Event{{Type: watch.Added, Object: shown}}
	case always, raw.GetResourceVersion() != before.raw.GetResourceVersion(), !v.lens.same(before.shown, shown):
		return []watch.Event{{Type: watch.Modified, Object: shown}}
	}
	return nil
}

// take follows one watch event. v.mu is held.
func (v *view) take(t watch.EventType, raw object) []watch.Event {
	v.slim(raw)
	v.rv = raw.GetResourceVersion()
	var events []watch.Event
	if key := keyOf(raw); t == watch.Deleted {
		v.lens.gone(key)
		if _, had := v.known[key]; had {
			events = []watch.Event{v.drop(key, raw)}
		}
	} else {
		events = v.put(raw, true)
	}
	if v.lens.stale() {
		events = append(events, v.again(false)...)
	}
	return events
}

// again looks anew at everything known, the oldest version first. v.mu is held.
func (v *view) again(poke bool) []watch.Event {
	var events []watch.Event
	known := make([]object, 0, len(v.known))
	for _, s := range v.known {
		known = append(known, s.raw)
	}
	byVersion(known)
	for _, raw := range known {
		events = append(events, v.put(raw, poke)...)
	}
	if len(events) > 0 {
		events = append(events, v.bookmark())
	}
	return events
}

// byVersion sorts for being shown one after the other: an informer believes to be as new as the last object that it got, and
// upstream's controllers refuse to work on an object of which they wrote a later version than that.
func byVersion(items []object) {
	version := func(o object) uint64 {
		n, _ := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
		return n
	}
	slices.SortStableFunc(items, func(a, b object) int { return cmp.Compare(version(a), version(b)) })
}

func (v *view) drop(key string, last object) watch.Event {
	delete(v.known, key)
	return watch.Event{Type: watch.Deleted, Object: last}
}

func (v *view) bookmark() watch.Event {
	o := v.blank()
	o.SetResourceVersion(v.rv)
	return watch.Event{Type: watch.Bookmark, Object: o}
}

func keyOf(o object) string { return o.GetNamespace() + "/" + o.GetName() }
