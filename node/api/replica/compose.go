package replica

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// decoded is one version of an object put together from its parts. It is shared: obj must not be changed.
type decoded struct {
	stored *store.Object
	obj    runtime.Object
	notes  map[string]note // the annotations that live beside the intent
}

// note is an annotation that a controller set through the status. It lives in the status part and shows only while the
// intent still has the value that the controller saw, so that a person's later word about the same annotation stands.
type note struct {
	value string
	base  *string // the intent's value below; nil: it has none
}

// decode puts the parts together as the API shows them, but for the lens.
func (k *Kind) decode(o *store.Object) (*decoded, error) {
	if d := k.replica.cache.get(o); d != nil {
		return d, nil
	}
	obj, err := k.decodeBody(o.Key, o.Bodies[store.Intent])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k.path(o.Key), err)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	d := &decoded{stored: o, obj: obj}
	if body := o.Bodies[k.part]; k.hasStatus && body != nil {
		beside, err := k.decodeBody(o.Key, body)
		if err != nil {
			return nil, fmt.Errorf("read the status of %s: %w", k.path(o.Key), err)
		}
		d.notes = lay(obj, m, beside)
	}
	if !k.keepUIDs {
		adopt(obj, types.UID(o.UID))
		m.SetUID(types.UID(o.UID))
	}
	m.SetResourceVersion(strconv.FormatUint(uint64(o.Rev), 10))
	showHead(obj, m, o.Head)
	k.replica.cache.put(d)
	return d, nil
}

// Object is what a stored object says, without the lens; shared, not to be changed.
func (k *Kind) Object(o *store.Object) (runtime.Object, error) {
	d, err := k.decode(o)
	if err != nil {
		return nil, err
	}
	return d.obj, nil
}

func (k *Kind) decodeBody(key store.Key, body []byte) (runtime.Object, error) {
	if k.seal != nil {
		plain, _, err := k.seal.Open(key, body)
		if err != nil {
			return nil, err
		}
		body = plain
	}
	obj, _, err := k.codec.Decode(body, nil, k.newObject())
	return obj, err
}

// lay puts the status part over the intent and returns the annotations that it brought.
func lay(obj runtime.Object, m metav1.Object, beside runtime.Object) map[string]note {
	statusOf(obj).Set(statusOf(beside))
	b, err := meta.Accessor(beside)
	if err != nil {
		return nil
	}
	own, _ := divide(m.GetManagedFields())
	m.SetManagedFields(append(own, b.GetManagedFields()...))
	notes := map[string]note{}
	below := m.GetAnnotations()
	shown := maps.Clone(below)
	for name, value := range b.GetAnnotations() {
		n := note{value: value}
		if base, ok := b.GetLabels()[name]; ok {
			n.base = &base
		}
		if !sameValue(below, name, n.base) {
			continue
		}
		if shown == nil {
			shown = map[string]string{}
		}
		shown[name] = value
		notes[name] = n
	}
	m.SetAnnotations(shown)
	return notes
}

func sameValue(in map[string]string, name string, want *string) bool {
	have, ok := in[name]
	if want == nil {
		return !ok
	}
	return ok && have == *want
}

// divide splits managed fields into those of the intent and those of the status.
func divide(all []metav1.ManagedFieldsEntry) (intent, status []metav1.ManagedFieldsEntry) {
	for _, e := range all {
		if e.Subresource == "status" {
			status = append(status, e)
		} else {
			intent = append(intent, e)
		}
	}
	return intent, status
}

// statusOf is the Status field of an object; invalid where it has none.
func statusOf(obj runtime.Object) reflect.Value {
	v := reflect.Indirect(reflect.ValueOf(obj))
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	s := v.FieldByName("Status")
	if !s.IsValid() || s.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return s
}

// namespaceFinalizer marks, among removed finalizers, those of a Namespace's spec.
const namespaceFinalizer = "spec/"

// showHead puts the sticky fields over the body.
func showHead(obj runtime.Object, m metav1.Object, h store.Head) {
	m.SetGeneration(h.Generation)
	m.SetDeletionTimestamp(nil)
	m.SetDeletionGracePeriodSeconds(nil)
	if h.DeletionTime != 0 {
		at := metav1.NewTime(time.Unix(h.DeletionTime, 0))
		m.SetDeletionTimestamp(&at)
		grace := h.DeletionGrace
		m.SetDeletionGracePeriodSeconds(&grace)
	}
	if len(h.Removed) == 0 {
		return
	}
	m.SetFinalizers(slices.DeleteFunc(m.GetFinalizers(), func(f string) bool { return slices.Contains(h.Removed, f) }))
	if ns, ok := obj.(*core.Namespace); ok {
		ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f core.FinalizerName) bool {
			return slices.Contains(h.Removed, namespaceFinalizer+string(f))
		})
	}
}

// headOf reads the sticky fields of an object that is about to be written over old (nil: created).
func headOf(m metav1.Object, obj runtime.Object, old runtime.Object, base store.Head) (store.Head, error) {
	h := store.Head{Generation: m.GetGeneration()}
	if at := m.GetDeletionTimestamp(); at != nil {
		h.DeletionTime = at.Unix()
		if g := m.GetDeletionGracePeriodSeconds(); g != nil {
			h.DeletionGrace = *g
		}
	}
	if old == nil {
		return h, nil
	}
	before, err := finalizers(old)
	if err != nil {
		return h, err
	}
	now, err := finalizers(obj)
	if err != nil {
		return h, err
	}
	removed := map[string]bool{}
	for _, f := range slices.Concat(base.Removed, before) {
		removed[f] = true
	}
	for _, f := range now {
		delete(removed, f)
	}
	if len(removed) > 0 {
		h.Removed = slices.Sorted(maps.Keys(removed))
	}
	return h, nil
}

func finalizers(obj runtime.Object) ([]string, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(m.GetFinalizers())
	if ns, ok := obj.(*core.Namespace); ok {
		for _, f := range ns.Spec.Finalizers {
			out = append(out, namespaceFinalizer+string(f))
		}
	}
	return out, nil
}
