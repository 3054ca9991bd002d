package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
)

// How often the collector asks which kinds exist, and how long it waits at its start for those that cannot be listed.
const (
	kindsEvery     = time.Minute
	collectorStart = 30 * time.Second
)

// makeGarbageCollector runs upstream's collector over all objects of the mesh. What it finds dangling in its graph it
// asks the API for, so an owner that is merely unseen costs nothing; what it then wants to remove the guard lets pass at
// the object's home only, and the API when it knows the owner dead.
func makeGarbageCollector(ctx context.Context, s *stage) (func(context.Context), error) {
	objects, err := metadata.NewForConfig(s.rest)
	if err != nil {
		return nil, err
	}
	ignored := map[schema.GroupResource]struct{}{
		{Resource: "events"}: {}, {Group: "events.k8s.io", Resource: "events"}: {},
		{Group: "coordination.k8s.io", Resource: "leases"}: {},
	}
	c, err := garbagecollector.NewGarbageCollector(ctx, s.client, objects, s.mapper, ignored, s.objects, s.started)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		synced := make(chan struct{})
		go func() {
			defer close(synced)
			c.Sync(ctx, s.client.Discovery(), kindsEvery)
		}()
		c.Run(ctx, workers, collectorStart)
		<-synced
	}, nil
}

// metadataFactory gives the collector informers of metadata alone, of which only what the graph is made from is kept.
type metadataFactory struct {
	metadatainformer.SharedInformerFactory
	lease *lease // of the life that asks; nil: nobody's
}

func newMetadataFactory(client metadata.Interface) *metadataFactory {
	return &metadataFactory{SharedInformerFactory: metadatainformer.NewSharedInformerFactoryWithOptions(client, 0, metadatainformer.WithTransform(slimMetadata))}
}

// leased is the same informers for one life of a controller.
func (f *metadataFactory) leased(l *lease) *metadataFactory {
	return &metadataFactory{f.SharedInformerFactory, l}
}

// ForResource never fails: every kind has metadata.
func (f *metadataFactory) ForResource(r schema.GroupVersionResource) (informers.GenericInformer, error) {
	i := f.SharedInformerFactory.ForResource(r)
	if f.lease == nil {
		return i, nil
	}
	return f.lease.generic(i, nil)
}

func slimMetadata(in any) (any, error) {
	if _, err := meta.Accessor(in); err != nil {
		return in, nil
	}
	if o, ok := in.(*metav1.PartialObjectMetadata); ok {
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
	}
	return in, nil
}
