package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	"k8s.io/kubernetes/pkg/quota/v1/evaluator/core"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
)

// recount is how often a quota is counted anew though nothing told of a change.
const recount = 5 * time.Minute

// makeQuota runs upstream's quota controller: without it a ResourceQuota has no status, and admission refuses whatever it
// limits. Each quota is counted at its home; what is counted there is that side's view.
func makeQuota(ctx context.Context, s *stage) (func(context.Context), error) {
	served := func(r schema.GroupVersionResource) bool { return r.Group != "resource.k8s.io" }
	evaluators, err := core.NewEvaluators(generic.ListerFuncForResourceFunc(weighed{s}.ForResource), s.all, served)
	if err != nil {
		return nil, err
	}
	config := generic.NewConfiguration(evaluators, quotainstall.DefaultIgnoredResources())
	kinds := s.client.Discovery().ServerPreferredNamespacedResources
	c, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient:               s.client.CoreV1(),
		ResourceQuotaInformer:     s.own.Core().V1().ResourceQuotas(),
		ResyncPeriod:              func() time.Duration { return recount },
		InformerFactory:           weighed{s},
		ReplenishmentResyncPeriod: func() time.Duration { return 0 },
		DiscoveryFunc:             kinds,
		IgnoredResourcesFunc:      config.IgnoredResources,
		InformersStarted:          s.started,
		Registry:                  generic.NewRegistry(config.Evaluators()),
		UpdateFilter:              quotainstall.DefaultUpdateFilter(),
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		synced := make(chan struct{})
		go func() {
			defer close(synced)
			c.Sync(ctx, kinds, kindsEvery)
		}()
		c.Run(ctx, 1)
		<-synced
	}, nil
}

// weighed shows what a quota weighs (pods, services, claims) whole, and what it only counts by its metadata.
type weighed struct{ s *stage }

func (w weighed) ForResource(r schema.GroupVersionResource) (informers.GenericInformer, error) {
	if r.Group == "" && (r.Resource == "pods" || r.Resource == "services" || r.Resource == "persistentvolumeclaims") {
		return w.s.all.ForResource(r)
	}
	return w.s.objects.ForResource(r)
}

func (w weighed) Start(stop <-chan struct{}) {
	w.s.all.Start(stop)
	w.s.objects.Start(stop)
}

// makeAggregation fills the cluster roles that are made of others: admin, edit and view. Every node may do so; they write
// the same.
func makeAggregation(ctx context.Context, s *stage) (func(context.Context), error) {
	roles := s.all.Rbac().V1().ClusterRoles()
	c := clusterroleaggregation.NewClusterRoleAggregation(roles, s.client.RbacV1())
	return func(ctx context.Context) {
		if cache.WaitForCacheSync(ctx.Done(), roles.Informer().HasSynced) {
			c.Run(ctx, 1)
		}
	}, nil
}
