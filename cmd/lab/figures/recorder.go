package figures

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Movements counts what happened to pods and endpoints of all namespaces, as one host shows them.
type Movements struct {
	Created   int `json:"created"`
	Deleted   int `json:"deleted"`   // gone, or told to go
	Moved     int `json:"moved"`     // given another host; no pod should ever be
	Restarts  int `json:"restarts"`  // of containers
	Unready   int `json:"unready"`   // times that a pod turned from Ready to not Ready
	Withdrawn int `json:"withdrawn"` // times that an address stopped taking traffic
}

// recorder compares every picture of a pod or a slice with the one before. It goes by UID, so that a pod which is made anew under its old name counts.
type recorder struct {
	mu     sync.Mutex // guards all below
	count  Movements
	primed bool // the first picture is whole: what comes now is new
	pods   map[types.UID]*corev1.Pod
	ending map[types.UID]bool
	slices map[types.UID]*discoveryv1.EndpointSlice
}

func newRecorder() *recorder {
	return &recorder{pods: map[types.UID]*corev1.Pod{}, ending: map[types.UID]bool{}, slices: map[types.UID]*discoveryv1.EndpointSlice{}}
}

// record starts a recorder that lives as long as ctx; it returns when the first picture is whole.
func record(ctx context.Context, client kubernetes.Interface) (*recorder, error) {
	r := newRecorder()
	f := informers.NewSharedInformerFactory(client, 0)
	pods, slices := f.Core().V1().Pods().Informer(), f.Discovery().V1().EndpointSlices().Informer()
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    r.put,
		UpdateFunc: func(_, obj any) { r.put(obj) },
		DeleteFunc: r.remove,
	}
	for _, i := range []cache.SharedIndexInformer{pods, slices} {
		h, err := i.AddEventHandler(handler)
		if err != nil {
			return nil, err
		}
		f.Start(ctx.Done())
		if !cache.WaitForCacheSync(ctx.Done(), i.HasSynced, h.HasSynced) {
			return nil, fmt.Errorf("record what happens to pods: %w", ctx.Err())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.primed = true
	return r, nil
}

func (r *recorder) movements() Movements {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func (r *recorder) put(obj any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch v := obj.(type) {
	case *corev1.Pod:
		r.putPod(v)
	case *discoveryv1.EndpointSlice:
		r.withdrawn(r.slices[v.UID], v)
		r.slices[v.UID] = v
	}
}

func (r *recorder) putPod(p *corev1.Pod) {
	old := r.pods[p.UID]
	r.pods[p.UID] = p
	if p.DeletionTimestamp != nil && !r.ending[p.UID] {
		r.ending[p.UID] = true
		if r.primed {
			r.count.Deleted++
		}
	}
	switch {
	case !r.primed:
	case old == nil:
		r.count.Created++
	default:
		if old.Spec.NodeName != "" && old.Spec.NodeName != p.Spec.NodeName {
			r.count.Moved++
		}
		if podReady(old) && !podReady(p) {
			r.count.Unready++
		}
		r.count.Restarts += max(0, restarts(p)-restarts(old))
	}
}

func restarts(p *corev1.Pod) (n int) {
	for _, c := range p.Status.ContainerStatuses {
		n += int(c.RestartCount)
	}
	return n
}

func (r *recorder) remove(obj any) {
	if d, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = d.Obj
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch v := obj.(type) {
	case *corev1.Pod:
		if r.primed && !r.ending[v.UID] {
			r.count.Deleted++
		}
		delete(r.pods, v.UID)
		delete(r.ending, v.UID)
	case *discoveryv1.EndpointSlice:
		r.withdrawn(v, nil)
		delete(r.slices, v.UID)
	}
}

// withdrawn counts the addresses that took traffic before and do not now.
func (r *recorder) withdrawn(old, now *discoveryv1.EndpointSlice) {
	if !r.primed || old == nil {
		return
	}
	still := takers(now)
	for a := range takers(old) {
		if !still[a] {
			r.count.Withdrawn++
		}
	}
}

func takers(s *discoveryv1.EndpointSlice) map[string]bool {
	out := map[string]bool{}
	if s == nil {
		return out
	}
	for _, e := range s.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			for _, a := range e.Addresses {
				out[a] = true
			}
		}
	}
	return out
}
