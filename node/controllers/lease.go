package controllers

import (
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/batch"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/discovery"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/rbac"
	"k8s.io/client-go/tools/cache"
)

// lease is what one life of a controller holds of the shared informers: its handlers. They end with it; those of a life that is
// over would fill queues that nobody reads.
type lease struct {
	mu   sync.Mutex // guards what follows
	over bool
	held []func() error
}

func (l *lease) hold(i cache.SharedIndexInformer, r cache.ResourceEventHandlerRegistration, err error) (cache.ResourceEventHandlerRegistration, error) {
	if err != nil {
		return r, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return r, errors.Join(errors.New("this life of the controller is over"), i.RemoveEventHandler(r))
	}
	l.held = append(l.held, func() error { return i.RemoveEventHandler(r) })
	return r, nil
}

// end takes all handlers away. It may be called twice.
func (l *lease) end() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	var errs []error
	for _, remove := range l.held {
		errs = append(errs, remove())
	}
	l.held = nil
	return errors.Join(errs...)
}

// scene is s seen by one life of a controller.
func (l *lease) scene(s *scene) *scene {
	own := *s
	own.all, own.own, own.replicas = leased{s.all, l}, leased{s.own, l}, leased{s.replicas, l}
	return &own
}

// leased is an informer factory whose handlers a lease holds. The groups below are those that the roster's controllers use.
type leased struct {
	informers.SharedInformerFactory
	lease *lease
}

func (f leased) InformerFor(example runtime.Object, make internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	return leasedInformer{f.SharedInformerFactory.InformerFor(example, make), f.lease}
}

func (f leased) ForResource(r schema.GroupVersionResource) (informers.GenericInformer, error) {
	return f.lease.generic(f.SharedInformerFactory.ForResource(r))
}

func (f leased) Apps() apps.Interface           { return apps.New(f, "", nil) }
func (f leased) Batch() batch.Interface         { return batch.New(f, "", nil) }
func (f leased) Core() core.Interface           { return core.New(f, "", nil) }
func (f leased) Discovery() discovery.Interface { return discovery.New(f, "", nil) }
func (f leased) Policy() policy.Interface       { return policy.New(f, "", nil) }
func (f leased) Rbac() rbac.Interface           { return rbac.New(f, "", nil) }

type leasedInformer struct {
	cache.SharedIndexInformer
	lease *lease
}

func (i leasedInformer) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	r, err := i.SharedIndexInformer.AddEventHandler(h)
	return i.lease.hold(i.SharedIndexInformer, r, err)
}

func (i leasedInformer) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, d time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	r, err := i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(h, d)
	return i.lease.hold(i.SharedIndexInformer, r, err)
}

func (i leasedInformer) AddEventHandlerWithOptions(h cache.ResourceEventHandler, o cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	r, err := i.SharedIndexInformer.AddEventHandlerWithOptions(h, o)
	return i.lease.hold(i.SharedIndexInformer, r, err)
}

func (l *lease) generic(g informers.GenericInformer, err error) (informers.GenericInformer, error) {
	if err != nil {
		return nil, err
	}
	return leasedGeneric{g, l}, nil
}

type leasedGeneric struct {
	informers.GenericInformer
	lease *lease
}

func (g leasedGeneric) Informer() cache.SharedIndexInformer {
	return leasedInformer{g.GenericInformer.Informer(), g.lease}
}
