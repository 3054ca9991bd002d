package outlook

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/controller"
)

// mostPods is what one object may bring in a forecast.
const mostPods = 20000

// workload is what would become of one object's pods, when all is settled.
type workload struct {
	kind, namespace, name string
	template              corev1.PodTemplateSpec
	owner                 types.UID // that new pods would have
	stays, goes           []*corev1.Pod
	why                   string // those that go, go
	comes                 []*newcomer
}

// newcomer is a pod that would be made.
type newcomer struct {
	name  string // that it would have, or a number
	shape func(*corev1.Pod)
	pod   *corev1.Pod // as the API would admit it
}

func (w *workload) add(name string, shape func(*corev1.Pod)) {
	w.comes = append(w.comes, &newcomer{name: name, shape: shape})
}

// addNumbered adds pods whose names will be drawn; beyond what a forecast takes, one more is enough to say so.
func (w *workload) addNumbered(n int) {
	for i := range min(n, mostPods+1) {
		w.add(fmt.Sprintf("%s-(new %d)", w.name, i+1), nil)
	}
}

// world is what is there now.
type world struct {
	client kubernetes.Interface
	nodes  []*corev1.Node
	pods   map[string][]*corev1.Pod // by namespace, active ones
}

func look(ctx context.Context, client kubernetes.Interface) (*world, error) {
	w := &world{client: client, pods: map[string][]*corev1.Pod{}}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	for i := range nodes.Items {
		w.nodes = append(w.nodes, &nodes.Items[i])
	}
	return w, nil
}

// owned lists the active pods that an object controls, by name.
func (w *world) owned(ctx context.Context, namespace string, owner types.UID) (out []*corev1.Pod, err error) {
	all, known := w.pods[namespace]
	if !known {
		list, err := w.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list pods of %s: %w", namespace, err)
		}
		for i := range list.Items {
			if p := &list.Items[i]; controller.IsPodActive(p) {
				all = append(all, p)
			}
		}
		w.pods[namespace] = all
	}
	for _, p := range all {
		if ref := metav1.GetControllerOf(p); ref != nil && ref.UID == owner {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// fill keeps as many of the pods as are wanted, those that upstream would delete last, and adds what lacks.
func (w *workload) fill(have []*corev1.Pod, want int) {
	if surplus := len(have) - want; surplus > 0 {
		going := downscaled(have, surplus)
		w.goes, w.why = append(w.goes, going...), "scaled down"
		have = slices.DeleteFunc(slices.Clone(have), func(p *corev1.Pod) bool { return slices.Contains(going, p) })
	}
	w.stays = append(w.stays, have...)
	w.addNumbered(want - len(have))
}

// downscaled are the n pods that a ReplicaSet would delete first.
func downscaled(pods []*corev1.Pod, n int) []*corev1.Pod {
	on := map[string]int{}
	for _, p := range pods {
		on[p.Spec.NodeName]++
	}
	s := controller.ActivePodsWithRanks{Pods: slices.Clone(pods), Rank: make([]int, len(pods)), Now: metav1.Now()}
	for i, p := range pods {
		s.Rank[i] = on[p.Spec.NodeName]
	}
	sort.Sort(s)
	return s.Pods[:n]
}

func count(n *int32, or int) int {
	if n == nil {
		return or
	}
	return int(*n)
}

// workloadOf asks what an object would do to pods; nil when it brings none.
func (w *world) workloadOf(ctx context.Context, m manifest) (*workload, error) {
	switch o := m.object.(type) {
	case *corev1.Pod:
		return w.bare(ctx, o)
	case *appsv1.ReplicaSet:
		return w.replicaSet(ctx, m)
	case *appsv1.Deployment:
		return w.deployment(ctx, m)
	case *appsv1.StatefulSet:
		return w.statefulSet(ctx, m)
	case *appsv1.DaemonSet:
		return w.daemonSet(ctx, m)
	case *batchv1.Job:
		return w.job(ctx, m)
	}
	return nil, nil
}
