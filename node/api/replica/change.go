package replica

import (
	"bytes"
	"maps"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// change is what a write alters, part by part; a nil body leaves its part alone.
type change struct {
	intent []byte
	head   store.Head
	status []byte
	was    []byte // the status before
	host   string // the node that the status is of, where it is one's
}

func (c change) empty() bool { return c.intent == nil && c.status == nil }

// compare finds which parts of d a writer altered. The bodies are plain. Until an object has a status part, a write of
// both parts travels in the intent alone: a create and the binding of a pod are one record.
func (k *Kind) compare(d *decoded, written runtime.Object, human bool) (change, error) {
	m, err := meta.Accessor(written)
	if err != nil {
		return change{}, err
	}
	head, err := headOf(m, written, d.obj, d.stored.Head)
	if err != nil {
		return change{}, err
	}
	old, err := k.separate(d.obj, d, human)
	if err != nil {
		return change{}, err
	}
	now, err := k.separate(written, d, human)
	if err == nil && !human && !bytes.Equal(old.intent, now.intent) {
		// The intent changes anyway: what else changed in it goes there, in one write.
		now, err = k.separate(written, d, true)
	}
	if err != nil {
		return change{}, err
	}
	c := change{head: head}
	if !bytes.Equal(old.intent, now.intent) || !reflect.DeepEqual(head, d.stored.Head) {
		c.intent = now.intent
	}
	if !bytes.Equal(old.status, now.status) {
		c.status, c.was, c.host = now.status, old.status, hostOf(d)
	}
	if c.intent != nil && d.stored.Bodies[k.part] == nil {
		c.status = nil
		c.intent, err = k.whole(written)
	}
	return c, err
}

// parts are the plain bodies of an object with a status part of its own.
type parts struct{ intent, status []byte }

// separate divides an object that was made from d. To a person's write belongs every annotation that it changed; what a
// controller changed lies beside.
func (k *Kind) separate(obj runtime.Object, d *decoded, human bool) (parts, error) {
	if !k.hasStatus {
		body, err := k.whole(obj)
		return parts{intent: body}, err
	}
	intent, beside := shallow(obj), k.newObject()
	im, err := meta.Accessor(intent)
	if err != nil {
		return parts{}, err
	}
	bm, err := meta.Accessor(beside)
	if err != nil {
		return parts{}, err
	}
	statusOf(beside).Set(statusOf(obj))
	statusOf(intent).SetZero()
	ownFields, statusFields := divide(im.GetManagedFields())
	im.SetManagedFields(ownFields)
	bm.SetManagedFields(statusFields)
	k.separateNotes(d, im, bm, human)
	var p parts
	if p.intent, err = k.encode(intent, im); err != nil {
		return parts{}, err
	}
	p.status, err = k.encode(beside, bm)
	return p, err
}

// separateNotes takes annotations that belong beside the intent out of it: those that were there already, unless the
// writer changed them, and those that a controller sets while it writes a status.
func (k *Kind) separateNotes(d *decoded, intent, beside metav1.Object, human bool) {
	was, err := meta.Accessor(d.obj)
	if err != nil || k.part != store.Status {
		return
	}
	notes := map[string]note{}
	below := maps.Clone(intent.GetAnnotations())
	for name, value := range intent.GetAnnotations() {
		n, beside := d.notes[name]
		before, had := was.GetAnnotations()[name]
		changed := !had || before != value
		switch {
		case beside && !changed:
		case beside && !human:
			n.value = value
		case !beside && changed && !human:
			n = note{value: value}
			if had {
				n.base = &before
			}
		default:
			continue
		}
		notes[name] = n
		if n.base == nil {
			delete(below, name)
		} else {
			below[name] = *n.base
		}
	}
	if len(notes) == 0 {
		return
	}
	if len(below) == 0 {
		below = nil
	}
	intent.SetAnnotations(below)
	values, bases := map[string]string{}, map[string]string{}
	for name, n := range notes {
		values[name] = n.value
		if n.base != nil {
			bases[name] = *n.base
		}
	}
	beside.SetAnnotations(values)
	beside.SetLabels(bases)
}

// whole is the body of an object whose status travels in its intent.
func (k *Kind) whole(obj runtime.Object) ([]byte, error) {
	c := shallow(obj)
	m, err := meta.Accessor(c)
	if err != nil {
		return nil, err
	}
	return k.encode(c, m)
}

// encode leaves out what the store knows better.
func (k *Kind) encode(obj runtime.Object, m metav1.Object) ([]byte, error) {
	if !k.keepUIDs {
		m.SetUID("")
	}
	m.SetResourceVersion("")
	m.SetSelfLink("")
	m.SetGeneration(0)
	m.SetDeletionTimestamp(nil)
	m.SetDeletionGracePeriodSeconds(nil)
	return runtime.Encode(k.codec, obj)
}

// shallow copies an object's top level, so that its metadata and status may be replaced.
func shallow(obj runtime.Object) runtime.Object {
	v := reflect.Indirect(reflect.ValueOf(obj))
	if v.Kind() != reflect.Struct || !v.FieldByName("ObjectMeta").IsValid() {
		return obj.DeepCopyObject()
	}
	c := reflect.New(v.Type())
	c.Elem().Set(v)
	return c.Interface().(runtime.Object)
}
