package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

const (
	attempts     = 24                     // of one update before its writer is told of the conflict
	longestPause = 150 * time.Millisecond // between two of them; about 3 s in all
	writeTimeout = 30 * time.Second       // of one write, where the request has no deadline
)

// Create implements storage.Interface. The UID of what it writes is the store's, not the registry's random one. The time
// to live is the store's affair: it follows from the class of the kind.
func (k *Kind) Create(ctx context.Context, path string, obj, out runtime.Object, _ uint64) error {
	key, err := k.key(path)
	if err != nil {
		return err
	}
	if v, err := k.versioner.ObjectResourceVersion(obj); err == nil && v != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	for attempt := 0; ; attempt++ {
		o, err := k.create(ctx, key, obj)
		switch {
		case err == nil:
			return k.show(o, out)
		case errors.Is(err, store.ErrExists):
			return storage.NewKeyExistsError(path, 0)
		case !lostRace(err) || attempt == attempts:
			return k.refuse(key, err)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

func (k *Kind) create(ctx context.Context, key store.Key, obj runtime.Object) (*store.Object, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	body, err := k.whole(obj)
	if err != nil {
		return nil, err
	}
	head, err := headOf(m, obj, nil, store.Head{})
	if err != nil {
		return nil, err
	}
	return k.write(ctx, store.Write{Key: key, Body: body, Head: head, Root: k.root(key, m), Generated: m.GetGenerateName() != ""})
}

// root finds the object whose home a new one shares: its controller's root. An owner that is not here yet is taken for
// its own root.
func (k *Kind) root(key store.Key, m metav1.Object) store.Key {
	ref := metav1.GetControllerOfNoCopy(m)
	if ref == nil {
		return key
	}
	owner, _ := k.replica.Owner(key.Namespace, *ref)
	if owner.Root != (store.Key{}) {
		return owner.Root
	}
	return owner.Key
}

// Owner finds what an owner reference names, which is in the dependent's namespace or in none. Without a live object of
// that UID the result has only a Key, and found is false.
func (r *Replica) Owner(namespace string, ref metav1.OwnerReference) (owner *store.Object, found bool) {
	gv, _ := schema.ParseGroupVersion(ref.APIVersion)
	gvr, _ := meta.UnsafeGuessKindToResource(gv.WithKind(ref.Kind))
	key := store.Key{Kind: KindOf(gvr.GroupResource()), Namespace: namespace, Name: ref.Name}
	for _, try := range []store.Key{key, {Kind: key.Kind, Name: key.Name}} {
		if o, _ := r.Store.Get(try); o != nil && o.UID == string(ref.UID) {
			return o, true
		}
	}
	return &store.Object{Key: key}, false
}

// GuaranteedUpdate implements storage.Interface. It reads what is stored, never what the lens shows.
func (k *Kind) GuaranteedUpdate(ctx context.Context, path string, out runtime.Object, ignoreNotFound bool, pre *storage.Preconditions,
	try storage.UpdateFunc, _ runtime.Object,
) error {
	key, err := k.key(path)
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		o, err := k.update(ctx, path, key, ignoreNotFound, pre, try)
		switch {
		case err == nil:
			return k.show(o, out)
		case !lostRace(err):
			return k.refuse(key, err)
		case attempt == attempts:
			return apierrors.NewConflict(k.resource(), key.Name, errors.New("others changed it again and again in the meantime: read it anew and try once more"))
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

func (k *Kind) update(ctx context.Context, path string, key store.Key, ignoreNotFound bool, pre *storage.Preconditions, try storage.UpdateFunc) (*store.Object, error) {
	o, _ := k.replica.Store.Get(key)
	if o == nil {
		return k.updateAbsent(ctx, path, key, ignoreNotFound, pre, try)
	}
	d, err := k.decode(o)
	if err != nil {
		return nil, err
	}
	if err := pre.Check(path, d.obj); err != nil {
		return nil, err
	}
	written, _, err := try(d.obj.DeepCopyObject(), storage.ResponseMeta{ResourceVersion: uint64(o.Rev)})
	if err != nil {
		return nil, err
	}
	if l := k.replica.Lens; l != nil {
		l.Restore(k.name, d.obj, written)
	}
	human := isHuman(ctx)
	c, err := k.compare(d, written, human)
	if err != nil || c.empty() {
		return o, err
	}
	return k.apply(ctx, o, c, human)
}

func (k *Kind) updateAbsent(ctx context.Context, path string, key store.Key, ignoreNotFound bool, pre *storage.Preconditions, try storage.UpdateFunc) (*store.Object, error) {
	if !ignoreNotFound {
		return nil, storage.NewKeyNotFoundError(path, 0)
	}
	empty := k.newObject()
	if err := pre.Check(path, empty); err != nil {
		return nil, err
	}
	written, _, err := try(empty, storage.ResponseMeta{})
	if err != nil {
		return nil, err
	}
	return k.create(ctx, key, written)
}

// apply writes the parts that differ. Where both do, the status follows the intent; if somebody else wrote a status in
// between, that newer word stands.
func (k *Kind) apply(ctx context.Context, base *store.Object, c change, human bool) (*store.Object, error) {
	o := base
	if c.intent != nil {
		var err error
		if o, err = k.write(ctx, store.Write{Key: base.Key, Body: c.intent, Head: c.head, Base: base}); err != nil || c.status == nil {
			return o, err
		}
	}
	n, err := k.putStatus(ctx, o, c)
	if c.intent != nil && lostRace(err) {
		return o, nil
	}
	return n, err
}

// write seals what must not lie open and says who asks.
func (k *Kind) write(ctx context.Context, w store.Write) (*store.Object, error) {
	if k.seal != nil && w.Op == store.Put {
		sealed, err := k.seal.Close(w.Key, w.Body)
		if err != nil {
			return nil, fmt.Errorf("seal %s: %w", k.path(w.Key), err)
		}
		w.Body = sealed
	}
	w.Human = isHuman(ctx)
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, writeTimeout)
		defer cancel()
	}
	return k.replica.Store.Write(ctx, w)
}

// Delete implements storage.Interface.
func (k *Kind) Delete(ctx context.Context, path string, out runtime.Object, pre *storage.Preconditions, validate storage.ValidateObjectFunc,
	_ runtime.Object, _ storage.DeleteOptions,
) error {
	key, err := k.key(path)
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		err := k.delete(ctx, path, key, out, pre, validate)
		if !lostRace(err) {
			return k.refuse(key, err)
		}
		if attempt == attempts {
			return apierrors.NewConflict(k.resource(), key.Name, errors.New("others changed it again and again in the meantime: try once more"))
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

func (k *Kind) delete(ctx context.Context, path string, key store.Key, out runtime.Object, pre *storage.Preconditions, validate storage.ValidateObjectFunc) error {
	o, _ := k.replica.Store.Get(key)
	if o == nil {
		return storage.NewKeyNotFoundError(path, 0)
	}
	d, err := k.decode(o)
	if err != nil {
		return err
	}
	if err := pre.Check(path, d.obj); err != nil {
		return err
	}
	if err := validate(ctx, d.obj.DeepCopyObject()); err != nil {
		return err
	}
	gone, err := k.write(ctx, store.Write{Key: key, Op: store.Delete, Base: o})
	if err != nil {
		return err
	}
	if err := assign(out, d.obj.DeepCopyObject()); err != nil {
		return err
	}
	rev := k.replica.Store.Rev()
	if gone != nil && gone.Rev > o.Rev {
		rev = gone.Rev
	}
	return k.versioner.UpdateObject(out, uint64(rev))
}

// lostRace tells that a write was refused because what it was based on is no more.
func lostRace(err error) bool {
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrExists)
}

func pause(ctx context.Context, attempt int) error {
	t := time.NewTimer(rand.N(min(time.Millisecond<<min(attempt, 10), longestPause)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
