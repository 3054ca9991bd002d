package replica

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// bookmarkEvery is how often an idle watcher that asked for bookmarks learns of the present revision.
const bookmarkEvery = time.Minute

// Watch implements storage.Interface. A revision that this process did not issue ends the watch with 410 Expired, which
// makes the client list anew.
func (k *Kind) Watch(ctx context.Context, path string, opts storage.ListOptions) (watch.Interface, error) {
	from, err := k.versioner.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	sel, _, err := k.selector(path, opts.Recursive)
	if err != nil {
		return nil, err
	}
	initial := from == 0
	if opts.SendInitialEvents != nil {
		initial = *opts.SendInitialEvents
	}
	if now := uint64(k.replica.Store.Rev()); initial && from > now {
		return nil, storage.NewTooLargeResourceVersionError(from, now, 1)
	}
	snapshot := initial || from == 0
	if snapshot {
		from = 0
	}
	sub, err := k.replica.Store.Subscribe(sel, store.Revision(from), snapshot)
	if errors.Is(err, store.ErrFuture) || errors.Is(err, store.ErrCompacted) {
		return expired(fmt.Sprintf("too old resource version: %d was not issued by this server's present life: list anew", from)), nil
	}
	if err != nil {
		return nil, err
	}
	w := &watcher{kind: k, sel: sel, pick: opts.Predicate, out: make(chan watch.Event, 16), last: max(sub.Rev, store.Revision(from))}
	w.ctx, w.cancel = context.WithCancel(ctx)
	if !initial {
		sub.Initial = nil
	}
	utilflowcontrol.WatchInitialized(ctx)
	go w.run(sub, initial && opts.SendInitialEvents != nil && opts.Predicate.AllowWatchBookmarks)
	return w, nil
}

// watcher turns the store's events into a client's. Its goroutine ends with its context, with Stop, or with the first
// error, and closes the channel. Where the store has a Successor it outlives the store.
type watcher struct {
	kind   *Kind
	sel    store.Selector
	pick   storage.SelectionPredicate
	out    chan watch.Event
	last   store.Revision // of what was sent last
	ctx    context.Context
	cancel context.CancelFunc
}

func (w *watcher) Stop()                          { w.cancel() }
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }

func (w *watcher) run(sub Subscription, markInitial bool) {
	defer close(w.out)
	defer w.cancel()
	defer sub.Close()
	if !w.sendInitial(sub.Initial) || markInitial && !w.bookmark(sub.Rev, true) {
		return
	}
	sub.Initial = nil
	for {
		now := w.kind.replica.Store.Rev()
		events, err := w.next(sub)
		switch {
		case err == nil:
		case w.ctx.Err() != nil:
			return
		case w.kind.replica.life.Err() != nil:
			w.outlive()
			return
		case errors.Is(err, context.DeadlineExceeded):
			// What happened up to now was queued before it was visible, and the queue is empty.
			if w.pick.AllowWatchBookmarks && now > w.last && !w.bookmark(now, false) {
				return
			}
			continue
		case errors.Is(err, store.ErrCompacted):
			w.fail(apierrors.NewResourceExpired("this watch fell too far behind: list anew"))
			return
		default:
			w.fail(err)
			return
		}
		for _, e := range events {
			if !w.sendEvent(e) {
				return
			}
			w.last = e.Rev
		}
	}
}

func (w *watcher) next(sub Subscription) ([]store.Event, error) {
	ctx, cancel := context.WithTimeout(w.ctx, bookmarkEvery)
	defer cancel()
	defer context.AfterFunc(w.kind.replica.life, cancel)()
	return sub.Next(ctx)
}

func (w *watcher) sendInitial(objects []*store.Object) bool {
	for _, o := range objects {
		obj, ok := w.show(o)
		if ok && !w.send(watch.Event{Type: watch.Added, Object: obj.DeepCopyObject()}) {
			return false
		}
	}
	return true
}

func (w *watcher) sendEvent(e store.Event) bool {
	now, is := w.show(e.New)
	if e.New != nil && now == nil {
		return true // it is there but can't be read, which is no reason to call it gone
	}
	old, was := w.show(e.Old)
	if !is {
		now = nil
	}
	if !was {
		old = nil
	}
	return w.turn(old, now, e.Rev)
}

// turn tells the client that an object changed from what it was to what it is; nil: it does not see that.
func (w *watcher) turn(old, now runtime.Object, rev store.Revision) bool {
	switch {
	case old == nil && now == nil:
		return true
	case old == nil:
		return w.send(watch.Event{Type: watch.Added, Object: now.DeepCopyObject()})
	case now == nil:
		// It went, or left the selection: either way the client gets its last state, as upstream sends it.
		return w.sendDeleted(old, rev)
	case uid(old) != uid(now):
		// One object went and another came under its name before anybody looked.
		return w.sendDeleted(old, rev) && w.send(watch.Event{Type: watch.Added, Object: now.DeepCopyObject()})
	}
	return w.send(watch.Event{Type: watch.Modified, Object: now.DeepCopyObject()})
}

func uid(obj runtime.Object) types.UID {
	m, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return m.GetUID()
}

func (w *watcher) sendDeleted(obj runtime.Object, rev store.Revision) bool {
	obj = obj.DeepCopyObject()
	if err := w.kind.versioner.UpdateObject(obj, uint64(rev)); err != nil {
		w.fail(err)
		return false
	}
	return w.send(watch.Event{Type: watch.Deleted, Object: obj})
}

// show is an object as the watcher may see it; ok: its predicate picks it. An object that can't be read is logged and
// passed over.
func (w *watcher) show(o *store.Object) (obj runtime.Object, ok bool) {
	if o == nil {
		return nil, false
	}
	obj, err := w.kind.view(o)
	if err != nil {
		w.kind.replica.Log.Error("an object can't be read and is kept from a watch", "kind", w.kind.name, "object", after(o.Key), "err", err)
		return nil, false
	}
	ok, err = w.pick.Matches(obj)
	return obj, ok && err == nil
}

func (w *watcher) bookmark(rev store.Revision, initialEnd bool) bool {
	obj := w.kind.newObject()
	if err := w.kind.versioner.UpdateObject(obj, uint64(rev)); err != nil {
		return true
	}
	if initialEnd {
		if err := storage.AnnotateInitialEventsEndBookmark(obj); err != nil {
			return true
		}
	}
	w.last = max(w.last, rev)
	return w.send(watch.Event{Type: watch.Bookmark, Object: obj})
}

func (w *watcher) send(e watch.Event) bool {
	select {
	case w.out <- e:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *watcher) fail(err error) {
	var st apierrors.APIStatus
	if !errors.As(err, &st) {
		st = apierrors.NewInternalError(err)
	}
	s := st.Status()
	w.send(watch.Event{Type: watch.Error, Object: &s})
}

// expired is a watch that tells its client to list anew, and ends.
func expired(why string) watch.Interface {
	st := apierrors.NewResourceExpired(why).ErrStatus
	st.Code, st.Reason = http.StatusGone, metav1.StatusReasonExpired
	c := make(chan watch.Event, 1)
	c <- watch.Event{Type: watch.Error, Object: &st}
	close(c)
	return watch.NewProxyWatcher(c)
}
