package replica

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Successor is the next life of the store, in another process.
type Successor interface {
	// Watch shows a selection as it is to be read there: first all of it, then a bookmark that says so (metav1.InitialEventsAnnotationKey),
	// then what changes. An error may be of the moment: it is asked again.
	Watch(ctx context.Context, sel store.Selector) (watch.Interface, error)
}

const (
	bequest   = time.Minute            // for the next life to show all there is; then the watch ends
	between   = 300 * time.Millisecond // two attempts, on average
	returning = 10 * time.Second       // for what no disk holds (leases, derived slices) to come back before it counts as deleted
)

// Outlive says that the store has changed for the last time, and where its watches go on. It may be called once.
func (r *Replica) Outlive(next Successor) {
	r.next = next
	r.end()
}

// heir carries a watch on into the next life of the store, and the ones after that. Revisions are others there, so the client gets every
// object anew: what it knows as modified. So whoever keeps objects can write them with the revisions of that life.
type heir struct {
	*watcher
	known  map[store.Key]runtime.Object // what the client takes to be there
	absent map[store.Key]bool           // of these what the present life has not shown
}

func (w *watcher) outlive() {
	h := &heir{watcher: w, known: map[store.Key]runtime.Object{}}
	objects, _, _, err := w.kind.replica.Store.List(w.sel, store.ListOptions{})
	if err != nil {
		return
	}
	for _, o := range objects {
		if obj, ok := w.show(o); ok {
			h.known[o.Key] = obj
		}
	}
	for orphaned := time.Now(); time.Since(orphaned) < bequest; {
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(between/2 + rand.N(between)): // not all watches of a process at once
		}
		if h.share() {
			orphaned = time.Now()
		}
	}
}

// share goes through one life; whole: it has shown all there is.
func (h *heir) share() (whole bool) {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	late := time.AfterFunc(bequest, cancel)
	defer late.Stop()
	life, err := h.kind.replica.next.Watch(ctx, h.sel)
	if err != nil {
		return false
	}
	defer life.Stop()
	all, ok := gather(life)
	late.Stop()
	if !ok || !h.meet(all) {
		return false
	}
	h.follow(life)
	return true
}

// gather takes the objects of a life in; ok: these are all.
func gather(life watch.Interface) (all []runtime.Object, ok bool) {
	for e := range life.ResultChan() {
		switch e.Type {
		case watch.Added, watch.Modified:
			all = append(all, e.Object)
		case watch.Bookmark:
			if m, err := meta.Accessor(e.Object); err == nil && m.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
				return all, true
			}
		default:
			return nil, false
		}
	}
	return nil, false
}

// meet shows what a life begins with, the oldest first: whoever breaks off is to go on from the last revision that it saw.
func (h *heir) meet(all []runtime.Object) bool {
	slices.SortStableFunc(all, func(a, b runtime.Object) int { return cmp.Compare(h.revision(a), h.revision(b)) })
	h.absent = map[store.Key]bool{}
	for k := range h.known {
		h.absent[k] = true
	}
	for _, obj := range all {
		if !h.pass(obj, false) {
			return false
		}
	}
	return true
}

// follow passes on what changes, until that life or the client has ended.
func (h *heir) follow(life watch.Interface) {
	back := time.NewTimer(returning)
	defer back.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-back.C:
			if !h.giveUp() {
				return
			}
		case e, open := <-life.ResultChan():
			if !open || !h.hand(e) {
				return
			}
		}
	}
}

// hand passes one event on; false: it was the last one.
func (h *heir) hand(e watch.Event) bool {
	switch e.Type {
	case watch.Added, watch.Modified:
		return h.pass(e.Object, false)
	case watch.Deleted:
		return h.pass(e.Object, true)
	case watch.Bookmark: // one would promise that what is absent was told
		return len(h.absent) > 0 || !h.pick.AllowWatchBookmarks || h.send(e)
	}
	return false
}

// pass shows the client what an object means to it.
func (h *heir) pass(obj runtime.Object, gone bool) bool {
	m, err := meta.Accessor(obj)
	if err != nil {
		return true
	}
	k := store.Key{Kind: h.kind.name, Namespace: m.GetNamespace(), Name: m.GetName()}
	old := h.known[k]
	delete(h.absent, k)
	delete(h.known, k)
	now := obj
	if picked, err := h.pick.Matches(obj); gone || err != nil || !picked {
		now = nil
	} else {
		h.known[k] = obj
	}
	h.last = max(h.last, h.revision(obj))
	return h.turn(old, now, h.revision(obj))
}

// giveUp calls deleted what did not come back.
func (h *heir) giveUp() bool {
	for k := range h.absent {
		old := h.known[k]
		delete(h.known, k)
		if !h.turn(old, nil, h.last) {
			return false
		}
	}
	h.absent = nil
	return true
}

func (h *heir) revision(obj runtime.Object) store.Revision {
	rev, _ := h.kind.versioner.ObjectResourceVersion(obj) // 0 for what has none
	return store.Revision(rev)
}
