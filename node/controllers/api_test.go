package controllers

import (
	"fmt"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
)

// registry is a small API: defaults, names, UIDs, one rising resourceVersion per kind, conflicts, and pods that live on
// until the node that runs them, or the last finalizer, lets them go.
type registry struct {
	clienttesting.ObjectTracker
	mu      sync.Mutex
	version map[schema.GroupVersionResource]int64
	serial  int
	created map[string]int
	deleted map[string][]string
}

func newRegistry() (*registry, *fake.Clientset) {
	r := &registry{ObjectTracker: clienttesting.NewObjectTracker(scheme.Scheme, scheme.Codecs.UniversalDecoder()),
		version: map[schema.GroupVersionResource]int64{}, created: map[string]int{}, deleted: map[string][]string{}}
	c := &fake.Clientset{}
	c.AddReactor("*", "*", clienttesting.ObjectReaction(r))
	c.AddWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := r.Watch(a.GetResource(), a.GetNamespace(), a.(clienttesting.WatchActionImpl).ListOptions)
		return true, w, err
	})
	return r, c
}

func (r *registry) Create(g schema.GroupVersionResource, obj runtime.Object, ns string, _ ...metav1.CreateOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := obj.(object)
	r.serial++
	if o.GetName() == "" {
		o.SetName(fmt.Sprintf("%s%04d", o.GetGenerateName(), r.serial))
	}
	o.SetUID(types.UID(fmt.Sprintf("uid-%d", r.serial)))
	o.SetCreationTimestamp(metav1.Now())
	o.SetGeneration(1)
	legacyscheme.Scheme.Default(o)
	err := r.store(g, o, func() error { return r.ObjectTracker.Create(g, obj, ns) })
	if err == nil {
		r.created[g.Resource]++
	}
	return err
}

func (r *registry) Update(g schema.GroupVersionResource, obj runtime.Object, ns string, _ ...metav1.UpdateOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.update(g, obj, ns)
}

func (r *registry) Patch(g schema.GroupVersionResource, obj runtime.Object, ns string, _ ...metav1.PatchOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.update(g, obj, ns)
}

func (r *registry) update(g schema.GroupVersionResource, obj runtime.Object, ns string) error {
	o := obj.(object)
	now, err := r.Get(g, ns, o.GetName())
	if err != nil {
		return err
	}
	if rv := o.GetResourceVersion(); rv != "" && rv != now.(object).GetResourceVersion() {
		return apierrors.NewConflict(g.GroupResource(), o.GetName(), fmt.Errorf("it is at %s", now.(object).GetResourceVersion()))
	}
	if same := now.(object); equality.Semantic.DeepEqual(withVersion(same, ""), withVersion(o, "")) {
		return nil // as in the real one, writing what is there changes nothing
	}
	return r.store(g, o, func() error { return r.ObjectTracker.Update(g, obj, ns) })
}

func withVersion(o object, v string) object {
	c := o.DeepCopyObject().(object)
	c.SetResourceVersion(v)
	return c
}

// store gives the object the version that the tracker will count for it.
func (r *registry) store(g schema.GroupVersionResource, o object, write func() error) error {
	next := max(r.version[g], 1) + 1
	o.SetResourceVersion(strconv.FormatInt(next, 10))
	if err := write(); err != nil {
		return err
	}
	r.version[g] = next
	return nil
}

func (r *registry) Delete(g schema.GroupVersionResource, ns, name string, opts ...metav1.DeleteOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	obj, err := r.Get(g, ns, name)
	if err != nil {
		return err
	}
	o := obj.(object)
	if len(opts) > 0 && opts[0].Preconditions != nil && opts[0].Preconditions.UID != nil && *opts[0].Preconditions.UID != o.GetUID() {
		return apierrors.NewConflict(g.GroupResource(), name, fmt.Errorf("the UID is %s", o.GetUID()))
	}
	pod, isPod := obj.(*corev1.Pod)
	graceful := isPod && pod.Spec.NodeName != "" && (len(opts) == 0 || opts[0].GracePeriodSeconds == nil || *opts[0].GracePeriodSeconds > 0)
	if o.GetDeletionTimestamp() == nil {
		r.deleted[g.Resource] = append(r.deleted[g.Resource], name)
	}
	if graceful || len(o.GetFinalizers()) > 0 {
		now := metav1.Now()
		o.SetDeletionTimestamp(&now)
		return r.update(g, o, ns)
	}
	return r.ObjectTracker.Delete(g, ns, name)
}
