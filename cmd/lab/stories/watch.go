package stories

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// observer follows nodes, pods and endpoint slices as one host shows them and remembers when things changed.
type observer struct {
	mu      sync.Mutex // guards all below
	nodes   map[string]*corev1.Node
	pods    map[string]*corev1.Pod
	slices  map[string]*discoveryv1.EndpointSlice
	changed chan struct{} // closed and replaced at every change
}

// observe starts an observer of the namespace that lives as long as ctx; it returns when the picture is whole.
func observe(ctx context.Context, client kubernetes.Interface, namespace string) (*observer, error) {
	o := &observer{nodes: map[string]*corev1.Node{}, pods: map[string]*corev1.Pod{}, slices: map[string]*discoveryv1.EndpointSlice{}, changed: make(chan struct{})}
	f := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	nodes, pods, slices := f.Core().V1().Nodes().Informer(), f.Core().V1().Pods().Informer(), f.Discovery().V1().EndpointSlices().Informer()
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { o.put(obj) },
		UpdateFunc: func(_, obj any) { o.put(obj) },
		DeleteFunc: func(obj any) { o.remove(obj) },
	}
	for _, i := range []cache.SharedIndexInformer{nodes, pods, slices} {
		if _, err := i.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	f.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), nodes.HasSynced, pods.HasSynced, slices.HasSynced) {
		return nil, fmt.Errorf("observe %s: %w", namespace, ctx.Err())
	}
	return o, nil
}

func (o *observer) put(obj any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch v := obj.(type) {
	case *corev1.Node:
		o.nodes[v.Name] = v
	case *corev1.Pod:
		o.pods[v.Name] = v
	case *discoveryv1.EndpointSlice:
		o.slices[v.Name] = v
	}
	o.tell()
}

func (o *observer) remove(obj any) {
	if d, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = d.Obj
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch v := obj.(type) {
	case *corev1.Node:
		delete(o.nodes, v.Name)
	case *corev1.Pod:
		delete(o.pods, v.Name)
	case *discoveryv1.EndpointSlice:
		delete(o.slices, v.Name)
	}
	o.tell()
}

// tell wakes those who wait; o.mu is held.
func (o *observer) tell() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// until waits for a picture that is as wanted and gives the moment at which it was; what is missing is in the error.
func (o *observer) until(ctx context.Context, limit time.Duration, what string, wanted func() error) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		o.mu.Lock()
		err, changed := wanted(), o.changed
		o.mu.Unlock()
		if err == nil {
			return time.Now(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s: not within %s: %w", what, limit, err)
		}
	}
}

// ready lists the ready pods of an app, but for those on one host. That a host is lost shows in its pods a moment after it shows in
// the addresses of services.
func (o *observer) ready(app, without string) (names []string) {
	for _, p := range o.pods {
		if p.Labels["app"] == app && p.DeletionTimestamp == nil && p.Spec.NodeName != without && isReady(p) {
			names = append(names, p.Name)
		}
	}
	return names
}

// doubted tells that no pod of a host is shown Ready, which is so from the moment when the host is suspected.
func (o *observer) doubted(host string) bool {
	for _, p := range o.pods {
		if p.Spec.NodeName == host && isReady(p) {
			return false
		}
	}
	return true
}

// lost tells that a host's node is not shown Ready, which is so when the host is called dead.
func (o *observer) lost(host string) bool {
	n, known := o.nodes[host]
	if !known {
		return false
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status != corev1.ConditionTrue
		}
	}
	return true
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// serving lists the addresses that take traffic of any service.
func (o *observer) serving() map[string]bool {
	out := map[string]bool{}
	for _, s := range o.slices {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				for _, a := range e.Addresses {
					out[a] = true
				}
			}
		}
	}
	return out
}
