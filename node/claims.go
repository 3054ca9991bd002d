package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"
)

// nodeOfVolume is the annotation by which node-local volumes name their server.
const nodeOfVolume = "orpheus.dev/node"

// claims knows where the data of persistent volume claims lie.
type claims struct {
	factory informers.SharedInformerFactory
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	nodes   corelisters.NodeLister
	synced  []cache.InformerSynced
	changed chan struct{} // a wake after every change
}

func newClaims(client kubernetes.Interface) *claims {
	f := informers.NewSharedInformerFactory(client, 0)
	c := &claims{factory: f, claims: f.Core().V1().PersistentVolumeClaims().Lister(), volumes: f.Core().V1().PersistentVolumes().Lister(),
		nodes: f.Core().V1().Nodes().Lister(), changed: make(chan struct{}, 1)}
	for _, i := range []cache.SharedIndexInformer{f.Core().V1().PersistentVolumeClaims().Informer(), f.Core().V1().PersistentVolumes().Informer(), f.Core().V1().Nodes().Informer()} {
		c.synced = append(c.synced, i.HasSynced)
	}
	return c
}

// ring never blocks.
func (c *claims) ring() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// start returns when the caches are whole.
func (c *claims) start(ctx context.Context) error {
	wake := cache.ResourceEventHandlerFuncs{AddFunc: func(any) { c.ring() }, UpdateFunc: func(any, any) { c.ring() }, DeleteFunc: func(any) { c.ring() }}
	core := c.factory.Core().V1()
	for _, i := range []cache.SharedIndexInformer{core.PersistentVolumeClaims().Informer(), core.PersistentVolumes().Informer()} {
		if _, err := i.AddEventHandler(wake); err != nil {
			return fmt.Errorf("follow volumes: %w", err)
		}
	}
	relabelled := cache.ResourceEventHandlerFuncs{AddFunc: func(any) { c.ring() }, UpdateFunc: func(before, after any) {
		if a, b := before.(*corev1.Node), after.(*corev1.Node); !maps.Equal(a.Labels, b.Labels) {
			c.ring()
		}
	}}
	if _, err := core.Nodes().Informer().AddEventHandler(relabelled); err != nil {
		return fmt.Errorf("follow volumes: %w", err)
	}
	c.factory.Start(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), c.synced...)
	return nil
}

// hosts lists the nodes that can mount all volumes of a pod; nil means any. A claim that is not bound yet is bound where
// its pod goes; so is, in a forecast, one that is not there.
func (c *claims) hosts(pod *corev1.Pod) (out []string) {
	for i := range pod.Spec.Volumes {
		name := claimOf(pod, &pod.Spec.Volumes[i])
		if name == "" {
			continue
		}
		at := c.at(pod.Namespace, name)
		switch {
		case at == nil:
		case out == nil:
			out = at
		default:
			out = slices.DeleteFunc(slices.Clone(out), func(h string) bool { return !slices.Contains(at, h) })
		}
	}
	return out
}

// lacks says in kube-scheduler's words which claim of a pod is not there, or not for long; "" for none. Such a pod gets no host:
// the claim may be bound elsewhere when this server hears of it.
func (c *claims) lacks(pod *corev1.Pod) string {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		name := claimOf(pod, v)
		if name == "" {
			continue
		}
		claim, err := c.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		switch {
		case err != nil && v.Ephemeral != nil:
			return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
		case err != nil:
			return fmt.Sprintf("persistentvolumeclaim %q not found", name)
		case claim.DeletionTimestamp != nil:
			return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
		}
	}
	return ""
}

func claimOf(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

func (c *claims) at(namespace, name string) []string {
	pvc, err := c.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil || pvc.Spec.VolumeName == "" {
		return nil
	}
	pv, err := c.volumes.Get(pvc.Spec.VolumeName)
	if err != nil {
		return []string{} // its volume is not known here yet: nowhere is better than the wrong place
	}
	if node := pv.Annotations[nodeOfVolume]; node != "" {
		return []string{node}
	}
	return c.reach(pv)
}

// reach lists the nodes that a volume's node affinity lets it be mounted on; nil where it has none.
func (c *claims) reach(pv *corev1.PersistentVolume) []string {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return nil
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return []string{}
	}
	out := []string{}
	for _, n := range nodes {
		if volume.CheckNodeAffinity(pv, n.Labels) == nil {
			out = append(out, n.Name)
		}
	}
	slices.Sort(out)
	return out
}

// abandonVolumes lets the claims of a fenced server's volumes go, so that their pods start anew elsewhere with empty
// ones. The volumes themselves and their data are kept, for a person to look at should the server return.
func (s *server) abandonVolumes(ctx context.Context, node string) error {
	pvs, err := s.admin.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("let the volumes of %s go: %w", node, err)
	}
	keep, err := json.Marshal(map[string]any{"spec": map[string]any{"persistentVolumeReclaimPolicy": corev1.PersistentVolumeReclaimRetain}})
	if err != nil {
		return err
	}
	var errs []error
	for _, pv := range pvs.Items {
		if pv.Annotations[nodeOfVolume] != node || pv.Spec.ClaimRef == nil {
			continue
		}
		if _, err := s.admin.CoreV1().PersistentVolumes().Patch(ctx, pv.Name, types.MergePatchType, keep, metav1.PatchOptions{}); err != nil {
			errs = append(errs, err)
			continue
		}
		ref := pv.Spec.ClaimRef
		err := s.admin.CoreV1().PersistentVolumeClaims(ref.Namespace).Delete(ctx, ref.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &ref.UID}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
