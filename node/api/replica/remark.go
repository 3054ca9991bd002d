package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	conversion "k8s.io/kubernetes/pkg/apis/core/v1"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Remark is what somebody wrote about a pod's status anywhere but at its host, as the difference that it made. The host
// lays it over what it knows by then, so neither loses what the other wrote.
type Remark struct {
	Host      string `json:"host"` // the node
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Said      fields `json:"said"` // null: taken away
}

// Key is the pod's.
func (r Remark) Key() store.Key {
	return store.Key{Kind: "core/pods", Namespace: r.Namespace, Name: r.Name}
}

// After joins a remark with an earlier one about the same pod.
func (r Remark) After(earlier Remark) Remark {
	said := fields{}
	maps.Copy(said, earlier.Said)
	maps.Copy(said, r.Said)
	r.Said = said
	return r
}

// fields are a pod's status in pieces that have one writer each: every field of the status, but of conditions and managed fields every
// entry.
type fields map[string]json.RawMessage

const (
	conditionField = "conditions/" // and the type
	managedField   = "managedFields/"
)

var null = json.RawMessage("null")

// since is what has to be said of the fields before to make them these.
func (f fields) since(before fields) fields {
	said := fields{}
	for name, v := range f {
		if !bytes.Equal(before[name], v) {
			said[name] = v
		}
	}
	for name := range before {
		if _, ok := f[name]; !ok {
			said[name] = null
		}
	}
	return said
}

// with lays over the fields what was said.
func (f fields) with(said fields) fields {
	out := maps.Clone(f)
	maps.Copy(out, said)
	maps.DeleteFunc(out, func(_ string, v json.RawMessage) bool { return bytes.Equal(v, null) })
	return out
}

// unless takes away what was said of conditions that have changed since.
func (f fields) unless(now fields) fields {
	return maps.Collect(func(yield func(string, json.RawMessage) bool) {
		for name, v := range f {
			if strings.HasPrefix(name, conditionField) && changed(v).Before(changed(now[name])) {
				continue
			}
			if !yield(name, v) {
				return
			}
		}
	})
}

// changed is when a condition did; nil where it does not say.
func changed(condition json.RawMessage) *metav1.Time {
	var c corev1.PodCondition
	if json.Unmarshal(condition, &c) != nil || c.LastTransitionTime.IsZero() {
		return nil
	}
	return &c.LastTransitionTime
}

// fieldsOf takes a pod's status to pieces. order names the entries of lists as they stood there.
func fieldsOf(pod *core.Pod) (f fields, order []string, err error) {
	var status corev1.PodStatus
	if err := conversion.Convert_core_PodStatus_To_v1_PodStatus(&pod.Status, &status, nil); err != nil {
		return nil, nil, err
	}
	f = fields{}
	put := func(name string, v any) {
		raw, failed := json.Marshal(v)
		f[name], order, err = raw, append(order, name), errors.Join(err, failed)
	}
	for _, c := range status.Conditions {
		put(conditionField+string(c.Type), c)
	}
	for _, m := range pod.ManagedFields {
		put(managedField+strings.Join([]string{m.Manager, string(m.Operation), m.APIVersion, m.Subresource}, " "), m)
	}
	status.Conditions = nil
	rest, failed := json.Marshal(status)
	return f, order, errors.Join(err, failed, json.Unmarshal(rest, &f))
}

// put is the inverse of fieldsOf. Entries that order does not name stand behind the others.
func (f fields) put(pod *core.Pod, order []string) error {
	rest := maps.Clone(f)
	var status corev1.PodStatus
	var managed []metav1.ManagedFieldsEntry
	for _, name := range slices.Concat(order, slices.Sorted(maps.Keys(f))) {
		v, ok := rest[name]
		var err error
		switch {
		case !ok:
			continue
		case strings.HasPrefix(name, conditionField):
			var c corev1.PodCondition
			err = json.Unmarshal(v, &c)
			status.Conditions = append(status.Conditions, c)
		case strings.HasPrefix(name, managedField):
			var m metav1.ManagedFieldsEntry
			err = json.Unmarshal(v, &m)
			managed = append(managed, m)
		default:
			continue
		}
		if err != nil {
			return err
		}
		delete(rest, name)
	}
	raw, err := json.Marshal(rest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &status); err != nil {
		return err
	}
	pod.ManagedFields, pod.Status = managed, core.PodStatus{}
	return conversion.Convert_v1_PodStatus_To_core_PodStatus(&status, &pod.Status, nil)
}

// remark is the difference between two status parts of a pod.
func (k *Kind) remark(key store.Key, uid string, c change) (Remark, error) {
	r := Remark{Host: c.host, Namespace: key.Namespace, Name: key.Name, UID: uid}
	was, err := k.podOf(key, c.was)
	if err != nil {
		return r, err
	}
	now, err := k.podOf(key, c.status)
	if err != nil {
		return r, err
	}
	before, _, err := fieldsOf(was)
	if err != nil {
		return r, err
	}
	after, _, err := fieldsOf(now)
	r.Said = after.since(before)
	return r, err
}

// podOf reads a plain status part.
func (k *Kind) podOf(key store.Key, body []byte) (*core.Pod, error) {
	obj, err := k.decodeBody(key, body)
	if err != nil {
		return nil, err
	}
	pod, ok := obj.(*core.Pod)
	if !ok {
		return nil, fmt.Errorf("%T is no pod", obj)
	}
	return pod, nil
}

// hostOf names the node that an object's status is of; "" where any node may write it.
func hostOf(d *decoded) string {
	if pod, ok := d.obj.(*core.Pod); ok {
		return pod.Spec.NodeName
	}
	return ""
}

// remarked is the status part of a pod with a remark laid over it; nil where that changes nothing.
func (k *Kind) remarked(d *decoded, r Remark, late bool) ([]byte, error) {
	p, err := k.separate(d.obj, d, true)
	if err != nil {
		return nil, err
	}
	pod, err := k.podOf(d.stored.Key, p.status)
	if err != nil {
		return nil, err
	}
	now, order, err := fieldsOf(pod)
	if err != nil {
		return nil, err
	}
	said := r.Said
	if late {
		said = said.unless(now)
	}
	next := now.with(said)
	if maps.EqualFunc(now, next, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		return nil, nil
	}
	pod = pod.DeepCopy()
	if err := next.put(pod, order); err != nil {
		return nil, fmt.Errorf("lay a remark over the status of pod %s/%s: %w", r.Namespace, r.Name, err)
	}
	return k.encode(pod, pod)
}

// ErrElsewhere says that a pod is not to be found where a remark about it was told: it did not arrive yet, or has another host.
var ErrElsewhere = errors.New("the pod is not here")

// Observe lays a remark over the status of a pod of this node's. late says that it was kept for a while: conditions that changed
// since stay. A pod that is dead gives store.ErrGone.
func (k *Kind) Observe(ctx context.Context, r Remark, late bool) error {
	for attempt := 0; ; attempt++ {
		err := k.observe(ctx, r, late)
		if !errors.Is(err, store.ErrConflict) || attempt == attempts {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

func (k *Kind) observe(ctx context.Context, r Remark, late bool) error {
	o, _ := k.replica.Store.Get(r.Key())
	if o == nil || o.UID != r.UID {
		if k.replica.Store.Tombstoned(r.UID) {
			return store.ErrGone
		}
		return ErrElsewhere
	}
	d, err := k.decode(o)
	if err != nil {
		return err
	}
	if hostOf(d) != r.Host {
		return ErrElsewhere
	}
	body, err := k.remarked(d, r, late)
	if err != nil || body == nil {
		return err
	}
	_, err = k.writeStatus(ctx, o, body)
	return err
}
