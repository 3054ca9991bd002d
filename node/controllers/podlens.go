package controllers

import (
	"math"
	"strconv"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// FencedAnnotation on a Node states as a durable fact, made by a person, that its pods run no more and never will.
const FencedAnnotation = "orpheus.dev/fenced"

// podLens shows the pods of a fenced host as Failed, to all of their controllers.
type podLens struct {
	nodes corelisters.NodeLister
}

func (l podLens) show(raw object) object {
	if pod, ok := raw.(*corev1.Pod); ok && running(pod) && fenced(l.nodes, pod.Spec.NodeName) {
		return failed(pod, "NodeFenced", "the host was fenced: its containers run no more")
	}
	return raw
}

func (podLens) same(a, b object) bool { return samePod(a, b) }
func (podLens) gone(string)           {}
func (podLens) stale() bool           { return false }

// replicaLens is the ReplicaSet controller's own look at pods, and the one place where absence counts as failure: there a
// pod on a failed host is Failed, so that it is replaced. Upstream's controller leaves Failed pods alone, it neither
// deletes nor patches them; when the host is back they look as before, one replica is too many, and the deletion cost
// that the lens derives from their age makes the replacement go. Pods whose controller would not replace but destroy
// (Recreate, StatefulSet, DaemonSet, Job) do not come this way.
type replicaLens struct {
	podLens
	host        func(node string) HostState
	doubt       func() bool // this node's own view of others is not to be trusted at the moment
	sets        appslisters.ReplicaSetLister
	deployments appslisters.DeploymentLister

	undecided *atomic.Bool         // some pod's owner was not here yet
	lost      map[string]types.UID // the pods that are shown Failed for their host's sake
	priced    map[types.UID]map[string]bool
	owner     map[string]types.UID // of each priced pod
	repriced  bool
}

func newReplicaLens(c Config, pods podLens, sets appslisters.ReplicaSetLister, deployments appslisters.DeploymentLister) *replicaLens {
	return &replicaLens{podLens: pods, host: c.HostState, doubt: c.doubt, sets: sets, deployments: deployments,
		undecided: new(atomic.Bool), lost: map[string]types.UID{}, priced: map[types.UID]map[string]bool{}, owner: map[string]types.UID{}}
}

func (l *replicaLens) show(raw object) object {
	pod, ok := raw.(*corev1.Pod)
	if !ok {
		return raw
	}
	ref := metav1.GetControllerOf(pod)
	if ref == nil || ref.Kind != "ReplicaSet" {
		l.gone(keyOf(pod))
		return l.podLens.show(raw)
	}
	shown := l.podLens.show(l.cost(pod, ref)).(*corev1.Pod)
	if running(shown) && l.host(pod.Spec.NodeName) == Failed && l.replaceable(pod.Namespace, ref) && l.lose(pod) {
		return failed(shown, "NodeLost", "the host is out of sight")
	}
	delete(l.lost, keyOf(pod))
	return shown
}

// lose gives a pod up. In doubt nothing more is given up; what was given up before stays so, for its replacement runs
// already, and would be one too many.
func (l *replicaLens) lose(pod *corev1.Pod) bool {
	key := keyOf(pod)
	if l.lost[key] != pod.UID && l.doubt() {
		return false
	}
	l.lost[key] = pod.UID
	return true
}

// replaceable tells whether the pods of this ReplicaSet are alike, so that one may run beside a lost one that still
// runs out of sight. Whoever chose Recreate said that they are not.
func (l *replicaLens) replaceable(namespace string, ref *metav1.OwnerReference) bool {
	set, err := l.sets.ReplicaSets(namespace).Get(ref.Name)
	if err != nil || set.UID != ref.UID {
		l.undecided.Store(true)
		return false
	}
	above := metav1.GetControllerOf(set)
	if above == nil || above.Kind != "Deployment" {
		return true
	}
	d, err := l.deployments.Deployments(namespace).Get(above.Name)
	if err != nil || d.UID != above.UID {
		l.undecided.Store(true)
		return false
	}
	return d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

// cost prices a pod by its age, older ones higher, unless a person priced any pod of the same owner: two scales do not
// compare.
func (l *replicaLens) cost(pod *corev1.Pod, ref *metav1.OwnerReference) *corev1.Pod {
	key := keyOf(pod)
	if _, byUser := pod.Annotations[corev1.PodDeletionCost]; byUser {
		if l.owner[key] != ref.UID {
			l.unprice(key)
			l.owner[key] = ref.UID
			if l.priced[ref.UID] == nil {
				l.priced[ref.UID] = map[string]bool{}
				l.repriced = true
			}
			l.priced[ref.UID][key] = true
		}
		return pod
	}
	l.unprice(key)
	if len(l.priced[ref.UID]) > 0 {
		return pod
	}
	out := *pod
	out.Annotations = make(map[string]string, len(pod.Annotations)+1)
	for k, v := range pod.Annotations {
		out.Annotations[k] = v
	}
	out.Annotations[corev1.PodDeletionCost] = strconv.FormatInt(ageCost(pod.CreationTimestamp.Unix()), 10)
	return &out
}

// ageCost falls by one a second and stays within 32 bits from 1952 to 2088.
func ageCost(created int64) int64 {
	const y2020 = 1577836800
	return min(max(y2020-created, math.MinInt32), math.MaxInt32)
}

func (l *replicaLens) gone(key string) {
	delete(l.lost, key)
	l.unprice(key)
}

func (l *replicaLens) unprice(key string) {
	uid, was := l.owner[key]
	if !was {
		return
	}
	delete(l.owner, key)
	delete(l.priced[uid], key)
	if len(l.priced[uid]) == 0 {
		delete(l.priced, uid)
		l.repriced = true
	}
}

func (l *replicaLens) stale() bool {
	was := l.repriced
	l.repriced = false
	return was
}

func running(pod *corev1.Pod) bool {
	return pod.Spec.NodeName != "" && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func failed(pod *corev1.Pod, reason, message string) *corev1.Pod {
	out := *pod
	out.Status.Phase, out.Status.Reason, out.Status.Message = corev1.PodFailed, reason, message
	return &out
}

func fenced(nodes corelisters.NodeLister, name string) bool {
	n, err := nodes.Get(name)
	if err != nil {
		return false
	}
	_, is := n.Annotations[FencedAnnotation]
	return is
}

// samePod compares what a lens may have changed.
func samePod(a, b any) bool {
	p, ok1 := a.(*corev1.Pod)
	q, ok2 := b.(*corev1.Pod)
	return ok1 && ok2 && p.Status.Phase == q.Status.Phase && p.Status.Reason == q.Status.Reason &&
		p.Annotations[corev1.PodDeletionCost] == q.Annotations[corev1.PodDeletionCost]
}
