package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/disruption"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/controller/statefulset"
	"k8s.io/kubernetes/pkg/controller/ttlafterfinished"
)

// Names of the identities whose writes the guard treats apart; all are those of upstream's bootstrap policy.
const (
	garbageCollector     = "generic-garbage-collector"
	jobController        = "job-controller"
	disruptionController = "disruption-controller"
	podCollector         = "pod-garbage-collector"
)

// stage is what a controller is made from.
type stage struct {
	*scene
	config  Config
	client  kubernetes.Interface // as the controller's own identity, guarded
	rest    *rest.Config         // the same
	mapper  meta.ResettableRESTMapper
	objects *metadataFactory
	started <-chan struct{} // closed when the informers run
}

// controller is one entry of the roster. make builds it and returns what blocks until its context ends.
type controller struct {
	name string // of its service account in kube-system
	make func(ctx context.Context, s *stage) (func(ctx context.Context), error)
}

// roster is the explicit list of what runs. Never here: nodelifecycle, tainteviction and podgc, which write absence down
// as a fact; endpoints, which would store what each node derives.
func roster() []controller {
	return []controller{
		{"deployment-controller", makeDeployment},
		{"replicaset-controller", makeReplicaSet},
		{"statefulset-controller", makeStatefulSet},
		{"daemon-set-controller", makeDaemonSet},
		{jobController, makeJob},
		{"cronjob-controller", makeCronJob},
		{"ttl-after-finished-controller", makeTTL},
		{"endpointslice-controller", makeEndpointSlice},
		{"endpointslicemirroring-controller", makeMirroring},
		{"namespace-controller", makeNamespace},
		{"service-account-controller", makeServiceAccount},
		{"root-ca-cert-publisher", makeRootCA},
		{disruptionController, makeDisruption},
		{"resourcequota-controller", makeQuota},
		{"clusterrole-aggregation-controller", makeAggregation},
		{garbageCollector, makeGarbageCollector},
		{podCollector, makeFence},
	}
}

// workers that one node gives to each controller: homes are spread, so a few are enough.
const workers = 4

func makeDeployment(ctx context.Context, s *stage) (func(context.Context), error) {
	c, err := deployment.NewDeploymentController(ctx, s.own.Apps().V1().Deployments(), s.all.Apps().V1().ReplicaSets(), s.all.Core().V1().Pods(), s.client)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func makeReplicaSet(ctx context.Context, s *stage) (func(context.Context), error) {
	c := replicaset.NewReplicaSetController(ctx, s.own.Apps().V1().ReplicaSets(), s.replicas.Core().V1().Pods(), s.client, replicaset.BurstReplicas)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func makeStatefulSet(ctx context.Context, s *stage) (func(context.Context), error) {
	c := statefulset.NewStatefulSetController(ctx, s.all.Core().V1().Pods(), s.own.Apps().V1().StatefulSets(),
		s.all.Core().V1().PersistentVolumeClaims(), s.all.Apps().V1().ControllerRevisions(), s.client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func makeDaemonSet(ctx context.Context, s *stage) (func(context.Context), error) {
	c, err := daemon.NewDaemonSetsController(ctx, s.own.Apps().V1().DaemonSets(), s.all.Apps().V1().ControllerRevisions(),
		s.all.Core().V1().Pods(), s.all.Core().V1().Nodes(), s.client, flowcontrol.NewBackOff(time.Second, 15*time.Minute))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func makeJob(ctx context.Context, s *stage) (func(context.Context), error) {
	c, err := job.NewController(ctx, s.client, s.all.Core().V1().Pods(), s.all.Batch().V1().Jobs(), nil, nil)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func makeCronJob(ctx context.Context, s *stage) (func(context.Context), error) {
	c, err := cronjob.NewControllerV2(ctx, s.all.Batch().V1().Jobs(), s.own.Batch().V1().CronJobs(), s.client)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func makeTTL(ctx context.Context, s *stage) (func(context.Context), error) {
	c := ttlafterfinished.New(ctx, s.own.Batch().V1().Jobs(), s.client)
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func makeEndpointSlice(ctx context.Context, s *stage) (func(context.Context), error) {
	const perSlice = 100
	c := endpointslice.NewController(ctx, s.all.Core().V1().Pods(), s.all.Core().V1().Services(), s.all.Core().V1().Nodes(),
		s.all.Discovery().V1().EndpointSlices(), perSlice, s.client, 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

// makeMirroring turns what people wrote as Endpoints, the API of before, into slices.
func makeMirroring(ctx context.Context, s *stage) (func(context.Context), error) {
	const perSubset = 1000
	c := endpointslicemirroring.NewController(ctx, s.all.Core().V1().Endpoints(), s.all.Discovery().V1().EndpointSlices(), s.all.Core().V1().Services(),
		perSubset, s.client, 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func makeNamespace(ctx context.Context, s *stage) (func(context.Context), error) {
	objects, err := metadata.NewForConfig(s.rest)
	if err != nil {
		return nil, err
	}
	discover, err := discovered(s.client.Discovery().ServerPreferredNamespacedResources)
	if err != nil {
		return nil, err
	}
	c := namespace.NewNamespaceController(ctx, s.client, objects, discover, s.own.Core().V1().Namespaces(), 0, corev1.FinalizerKubernetes)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

// discovered asks what there is, and answers the next question with it. Upstream asks while it makes the controller and, where it
// learns nothing, ends the process: here that is an error like any other.
func discovered(ask func() ([]*metav1.APIResourceList, error)) (func() ([]*metav1.APIResourceList, error), error) {
	known, err := ask()
	if len(known) == 0 {
		return nil, fmt.Errorf("discover what a namespace can hold: %w", cmp.Or(err, errors.New("nothing")))
	}
	return func() ([]*metav1.APIResourceList, error) {
		if first := known; first != nil {
			known = nil // before upstream starts a worker
			return first, err
		}
		return ask()
	}, nil
}

func makeServiceAccount(ctx context.Context, s *stage) (func(context.Context), error) {
	c, err := serviceaccount.NewServiceAccountsController(klog.FromContext(ctx), s.all.Core().V1().ServiceAccounts(), s.own.Core().V1().Namespaces(),
		s.client, serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func makeRootCA(_ context.Context, s *stage) (func(context.Context), error) {
	c, err := rootcacertpublisher.NewPublisher(s.all.Core().V1().ConfigMaps(), s.own.Core().V1().Namespaces(), s.client, s.config.RootCA)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func makeDisruption(ctx context.Context, s *stage) (func(context.Context), error) {
	kinds := scale.NewDiscoveryScaleKindResolver(s.client.Discovery())
	scales, err := scale.NewForConfig(s.rest, s.mapper, dynamic.LegacyAPIPathResolverFunc, kinds)
	if err != nil {
		return nil, err
	}
	apps := s.all.Apps().V1()
	c := disruption.NewDisruptionController(ctx, s.all.Core().V1().Pods(), s.own.Policy().V1().PodDisruptionBudgets(),
		s.all.Core().V1().ReplicationControllers(), apps.ReplicaSets(), apps.Deployments(), apps.StatefulSets(),
		s.client, s.mapper, scales, s.client.Discovery())
	return c.Run, nil
}
