package controllers

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// scene is what the controllers of one process see, in three informer factories of which each kind of informer exists
// once: all has everything, slimmed (Jobs of other homes masked, pods of fenced hosts Failed); own has the primary
// objects of this home; replicas has the ReplicaSet controller's pods.
type scene struct {
	all, own, replicas informers.SharedInformerFactory
	homes              []*view // refreshed when the membership changes
	looks              []*view // refreshed when a host or a fence changes, too
	pods               *view   // of all
	undecided          func() bool
}

func newScene(c Config, client kubernetes.Interface) *scene {
	s := &scene{
		all:      informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slimAny)),
		own:      informers.NewSharedInformerFactory(client, 0),
		replicas: informers.NewSharedInformerFactory(client, 0),
	}
	s.addOwn(c, client)
	pods := client.CoreV1().Pods("")
	jobs := client.BatchV1().Jobs("")
	masked := newView(source(jobs.List, jobs.Watch), func() object { return &batchv1.Job{} }, bare, jobLens{mine: c.Mine}, false)
	s.homes = append(s.homes, masked)
	inform(s.all, &batchv1.Job{}, masked, false)
	fence := podLens{nodes: s.all.Core().V1().Nodes().Lister()}
	s.pods = newView(source(pods.List, pods.Watch), newPod, slimPod, fence, false)
	lost := newReplicaLens(c, fence, s.all.Apps().V1().ReplicaSets().Lister(), s.all.Apps().V1().Deployments().Lister())
	replicas := newView(source(pods.List, pods.Watch), newPod, slimPod, lost, false)
	s.undecided = func() bool { return lost.undecided.Swap(false) }
	s.looks = append(s.looks, s.pods, replicas)
	inform(s.all, &corev1.Pod{}, s.pods, true)
	inform(s.replicas, &corev1.Pod{}, replicas, true)
	s.addNamed(&corev1.ServiceAccount{}, "default", func(cl kubernetes.Interface, only func(*metav1.ListOptions)) cache.SharedIndexInformer {
		return coreinformers.NewFilteredServiceAccountInformer(cl, "", 0, byNamespace(), only)
	})
	s.addNamed(&corev1.ConfigMap{}, "kube-root-ca.crt", func(cl kubernetes.Interface, only func(*metav1.ListOptions)) cache.SharedIndexInformer {
		return coreinformers.NewFilteredConfigMapInformer(cl, "", 0, byNamespace(), only)
	})
	return s
}

// addOwn makes the filtered informers of the primary objects.
func (s *scene) addOwn(c Config, client kubernetes.Interface) {
	apps, batch := client.AppsV1(), client.BatchV1()
	add := func(kind string, example object, src cache.ListerWatcherWithContext, blank func() object) {
		v := newView(src, blank, bare, homeLens{mine: c.Mine, kind: kind}, true)
		s.homes = append(s.homes, v)
		inform(s.own, example, v, false)
	}
	add("apps/deployments", &appsv1.Deployment{}, source(apps.Deployments("").List, apps.Deployments("").Watch), func() object { return &appsv1.Deployment{} })
	add("apps/replicasets", &appsv1.ReplicaSet{}, source(apps.ReplicaSets("").List, apps.ReplicaSets("").Watch), func() object { return &appsv1.ReplicaSet{} })
	add("apps/statefulsets", &appsv1.StatefulSet{}, source(apps.StatefulSets("").List, apps.StatefulSets("").Watch), func() object { return &appsv1.StatefulSet{} })
	add("apps/daemonsets", &appsv1.DaemonSet{}, source(apps.DaemonSets("").List, apps.DaemonSets("").Watch), func() object { return &appsv1.DaemonSet{} })
	add("batch/jobs", &batchv1.Job{}, source(batch.Jobs("").List, batch.Jobs("").Watch), func() object { return &batchv1.Job{} })
	add("batch/cronjobs", &batchv1.CronJob{}, source(batch.CronJobs("").List, batch.CronJobs("").Watch), func() object { return &batchv1.CronJob{} })
	ns, pdb := client.CoreV1().Namespaces(), client.PolicyV1().PodDisruptionBudgets("")
	add("core/namespaces", &corev1.Namespace{}, source(ns.List, ns.Watch), func() object { return &corev1.Namespace{} })
	quotas := client.CoreV1().ResourceQuotas("")
	add("core/resourcequotas", &corev1.ResourceQuota{}, source(quotas.List, quotas.Watch), func() object { return &corev1.ResourceQuota{} })
	add("policy/poddisruptionbudgets", &policyv1.PodDisruptionBudget{}, source(pdb.List, pdb.Watch), func() object { return &policyv1.PodDisruptionBudget{} })
}

// addNamed makes an informer of all objects of one name.
func (s *scene) addNamed(example runtime.Object, name string, build func(kubernetes.Interface, func(*metav1.ListOptions)) cache.SharedIndexInformer) {
	s.all.InformerFor(example, func(cl kubernetes.Interface, _ time.Duration) cache.SharedIndexInformer {
		return build(cl, func(o *metav1.ListOptions) { o.FieldSelector = "metadata.name=" + name })
	})
}

// inform makes the factory's informer of a kind one that reads from a view.
func inform(f informers.SharedInformerFactory, example object, v *view, notices bool) {
	f.InformerFor(example, func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
		i := cache.NewSharedIndexInformer(v, example, 0, byNamespace())
		if notices {
			return awake{i}
		}
		return i
	})
}

func source[L runtime.Object](list func(context.Context, metav1.ListOptions) (L, error), watching func(context.Context, metav1.ListOptions) (watch.Interface, error)) cache.ListerWatcherWithContext {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := list(ctx, o)
			if err != nil {
				return nil, err
			}
			return l, nil
		},
		WatchFuncWithContext: watching,
	}
}

func byNamespace() cache.Indexers {
	return cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
}

func newPod() object { return &corev1.Pod{} }

// altered tells whether a pod is shown other than it is.
func (s *scene) altered(namespace, name string) bool {
	s.pods.mu.Lock()
	defer s.pods.mu.Unlock()
	k, ok := s.pods.known[namespace+"/"+name]
	return ok && k.raw != k.shown
}

// watchOwners looks again at the pods when something that a lens consults has changed: a fence, a deployment's strategy,
// an owner that arrived after its pods.
func (s *scene) watchOwners() error {
	again := func() { refresh(s.looks, wake{}) }
	late := func() {
		if s.undecided() {
			again()
		}
	}
	sets := cache.ResourceEventHandlerFuncs{AddFunc: func(any) { late() }}
	deployments := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { late() },
		UpdateFunc: func(before, after any) {
			if b, a := before.(*appsv1.Deployment), after.(*appsv1.Deployment); b.Spec.Strategy.Type != a.Spec.Strategy.Type {
				again()
			}
		},
	}
	nodes := cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { again() },
		UpdateFunc: func(before, after any) {
			_, was := before.(*corev1.Node).Annotations[FencedAnnotation]
			if _, is := after.(*corev1.Node).Annotations[FencedAnnotation]; is != was {
				again()
			}
		},
		DeleteFunc: func(any) { again() },
	}
	for i, h := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		s.all.Apps().V1().ReplicaSets().Informer(): sets,
		s.all.Apps().V1().Deployments().Informer(): deployments,
		s.all.Core().V1().Nodes().Informer():       nodes,
	} {
		if _, err := i.AddEventHandler(h); err != nil {
			return err
		}
	}
	return nil
}

// refresh looks again at everything; only primary objects are ever poked.
func (s *scene) refresh(w wake) {
	refresh(s.looks, wake{})
	refresh(s.homes, w)
}

func refresh(views []*view, w wake) {
	for _, v := range views {
		v.refresh(w)
	}
}

func (s *scene) factories() []informers.SharedInformerFactory {
	return []informers.SharedInformerFactory{s.all, s.own, s.replicas}
}
