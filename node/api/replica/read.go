package replica

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Versioner implements storage.Interface.
func (k *Kind) Versioner() storage.Versioner { return k.versioner }

// view is an object as it is to be read now; shared, not to be changed below its top level.
func (k *Kind) view(o *store.Object) (runtime.Object, error) {
	d, err := k.decode(o)
	if err != nil {
		return nil, err
	}
	if l := k.replica.Lens; l != nil {
		return l.View(k.name, d.obj), nil
	}
	return d.obj, nil
}

// show puts an object into a caller's own.
func (k *Kind) show(o *store.Object, out runtime.Object) error {
	if out == nil || o == nil {
		return nil
	}
	obj, err := k.view(o)
	if err != nil {
		return err
	}
	return assign(out, obj)
}

// assign copies the top level. What lies below stays shared, as with upstream's watch cache: registries do not change it.
func assign(out, obj runtime.Object) error {
	v, err := conversion.EnforcePtr(out)
	if err != nil {
		return fmt.Errorf("unable to convert output object to pointer: %w", err)
	}
	v.Set(reflect.ValueOf(obj).Elem())
	return nil
}

// Get implements storage.Interface.
func (k *Kind) Get(_ context.Context, path string, opts storage.GetOptions, out runtime.Object) error {
	key, err := k.key(path)
	if err != nil {
		return err
	}
	o, rev := k.replica.Store.Get(key)
	if err := k.notOlder(opts.ResourceVersion, rev); err != nil {
		return err
	}
	if o != nil {
		return k.show(o, out)
	}
	if opts.IgnoreNotFound {
		return runtime.SetZeroValue(out)
	}
	return storage.NewKeyNotFoundError(path, 0)
}

func (k *Kind) notOlder(want string, have store.Revision) error {
	if want == "" {
		return nil
	}
	rv, err := k.versioner.ParseResourceVersion(want)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	if rv > uint64(have) {
		return storage.NewTooLargeResourceVersionError(rv, uint64(have), 1)
	}
	return nil
}

// GetList implements storage.Interface. An object that can't be read is left out and logged: one bad record must not
// blind every controller.
func (k *Kind) GetList(ctx context.Context, path string, opts storage.ListOptions, list runtime.Object) error {
	items, err := itemsOf(list)
	if err != nil {
		return err
	}
	sel, prefix, err := k.selector(path, opts.Recursive)
	if err != nil {
		return err
	}
	at, start, err := storage.ValidateListOptions(prefix, k.versioner, opts)
	if err != nil {
		return err
	}
	q := store.ListOptions{At: store.Revision(max(at, 0)), After: k.resume(start)}
	limit := int(opts.Predicate.Limit)
	if !opts.Recursive {
		limit = 0
	}
	if limit > 0 && opts.Predicate.Empty() {
		q.Limit = limit + 1
	}
	found, rev, total, err := k.replica.Store.List(sel, q)
	if err != nil {
		return k.listError(err, uint64(at), rev, start, prefix, opts)
	}
	if err := k.notOlder(opts.ResourceVersion, max(rev, k.replica.Store.Rev())); err != nil {
		return err
	}
	last, more := k.collect(items, found, opts.Predicate, limit)
	next, remaining, err := storage.PrepareContinueToken(last, prefix, int64(rev), int64(total), more, opts)
	if err != nil {
		return err
	}
	return k.versioner.UpdateList(list, uint64(rev), next, remaining)
}

// collect appends what a predicate picks and names the last object that it looked at.
func (k *Kind) collect(items reflect.Value, found []*store.Object, pick storage.SelectionPredicate, limit int) (last string, more bool) {
	if limit == 0 && items.IsNil() {
		items.Set(reflect.MakeSlice(items.Type(), 0, len(found)))
	}
	for _, o := range found {
		if limit > 0 && items.Len() >= limit {
			return last, true
		}
		last = k.path(o.Key)
		obj, err := k.view(o)
		if err != nil {
			k.replica.Log.Error("an object can't be read and is left out of a list", "kind", k.name, "object", after(o.Key), "err", err)
			continue
		}
		if ok, err := pick.Matches(obj); err == nil && ok {
			items.Set(reflect.Append(items, reflect.ValueOf(obj).Elem()))
		}
	}
	if items.IsNil() {
		items.Set(reflect.MakeSlice(items.Type(), 0, 0))
	}
	return last, false
}

func itemsOf(list runtime.Object) (reflect.Value, error) {
	ptr, err := meta.GetItemsPtr(list)
	if err != nil {
		return reflect.Value{}, err
	}
	v, err := conversion.EnforcePtr(ptr)
	if err != nil || v.Kind() != reflect.Slice {
		return reflect.Value{}, fmt.Errorf("need a pointer to a slice, got %T: %w", ptr, err)
	}
	return v, nil
}

// resume reads where a continue token goes on, as store.List takes it. Our tokens name the last object seen and end with a
// NUL, "just behind it"; one without starts at the object itself, so behind the greatest name before it.
func (k *Kind) resume(start string) string {
	rest := strings.TrimPrefix(start, k.prefix)
	if rest == "" || strings.HasSuffix(rest, "\x00") {
		return strings.TrimSuffix(rest, "\x00")
	}
	end := len(rest) - 1
	return rest[:end] + string(rest[end]-1) + "\x7f"
}

const continueExpired = "The provided continue parameter is too old to display a consistent list result. " +
	"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. " +
	"Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between " +
	"the time the first chunk was returned and now may show up in the list."

func (k *Kind) listError(err error, at uint64, rev store.Revision, start, prefix string, opts storage.ListOptions) error {
	switch {
	case errors.Is(err, store.ErrFuture):
		return storage.NewTooLargeResourceVersionError(at, uint64(max(rev, k.replica.Store.Rev())), 1)
	case !errors.Is(err, store.ErrCompacted):
		return err
	case opts.Predicate.Continue == "":
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	e := apierrors.NewResourceExpired(continueExpired)
	if token, err := storage.EncodeContinue(start, prefix, -1); err == nil {
		e.ErrStatus.Continue = token
	}
	return e
}

// Stats implements storage.Interface.
func (k *Kind) Stats(context.Context) (storage.Stats, error) {
	_, _, total, err := k.replica.Store.List(store.Selector{Kind: k.name}, store.ListOptions{Limit: 1})
	return storage.Stats{ObjectCount: int64(total)}, err
}

// ReadinessCheck implements storage.Interface: a replica can always be read.
func (k *Kind) ReadinessCheck() error { return nil }

// RequestWatchProgress implements storage.Interface: watches are never behind the store.
func (k *Kind) RequestWatchProgress(context.Context) error { return nil }

// GetCurrentResourceVersion implements storage.Interface.
func (k *Kind) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return uint64(k.replica.Store.Rev()), nil
}

// EnableResourceSizeEstimation implements storage.Interface.
func (k *Kind) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface.
func (k *Kind) CompactRevision() int64 { return 0 }
