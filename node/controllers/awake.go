package controllers

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// awake is a pod informer whose handlers notice that a pod looks different although its resourceVersion is the same.
// Upstream's pod handlers take such an update for a resync and drop it; here the old pod that they compare with has lost
// its version. The informer's store keeps the true one, which upstream compares with its own writes.
type awake struct{ cache.SharedIndexInformer }

func (a awake) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return a.SharedIndexInformer.AddEventHandler(noticing{h})
}

func (a awake) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, d time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return a.SharedIndexInformer.AddEventHandlerWithResyncPeriod(noticing{h}, d)
}

func (a awake) AddEventHandlerWithOptions(h cache.ResourceEventHandler, o cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return a.SharedIndexInformer.AddEventHandlerWithOptions(noticing{h}, o)
}

type noticing struct{ cache.ResourceEventHandler }

func (n noticing) OnUpdate(before, after any) {
	b, ok1 := before.(*corev1.Pod)
	a, ok2 := after.(*corev1.Pod)
	if ok1 && ok2 && a != b && a.ResourceVersion == b.ResourceVersion && !samePod(a, b) {
		other := *b
		other.ResourceVersion = ""
		before = &other
	}
	n.ResourceEventHandler.OnUpdate(before, after)
}
