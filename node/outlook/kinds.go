package outlook

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/daemon"
	daemonutil "k8s.io/kubernetes/pkg/controller/daemon/util"
	deploymentutil "k8s.io/kubernetes/pkg/controller/deployment/util"
)

const templateChanged = "its template changed"

// bare is a pod without a controller: one that is there keeps its node, since what could move it can't be changed.
func (w *world) bare(ctx context.Context, p *corev1.Pod) (*workload, error) {
	out := &workload{kind: "Pod", namespace: p.Namespace, name: p.Name, template: corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}}
	if p.Name == "" {
		out.name = p.GenerateName
		out.addNumbered(1)
		return out, nil
	}
	now, err := w.client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		out.add(p.Name, nil)
	case err != nil:
		return nil, err
	default:
		out.stays = []*corev1.Pod{now}
	}
	return out, nil
}

func (w *world) replicaSet(ctx context.Context, m manifest) (*workload, error) {
	ns := m.object.(metav1.Object).GetNamespace()
	now, after, err := applied(m, func(name string) (*appsv1.ReplicaSet, error) {
		return w.client.AppsV1().ReplicaSets(ns).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, err
	}
	out := &workload{kind: "ReplicaSet", namespace: ns, name: after.Name, template: after.Spec.Template, owner: after.UID}
	var have []*corev1.Pod
	if now != nil {
		if have, err = w.owned(ctx, ns, now.UID); err != nil {
			return nil, err
		}
	}
	out.fill(have, count(after.Spec.Replicas, 1))
	return out, nil
}

// deployment keeps the pods of the replica set that has the new template, and of no other.
func (w *world) deployment(ctx context.Context, m manifest) (*workload, error) {
	ns := m.object.(metav1.Object).GetNamespace()
	now, after, err := applied(m, func(name string) (*appsv1.Deployment, error) {
		return w.client.AppsV1().Deployments(ns).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, err
	}
	out := &workload{kind: "Deployment", namespace: ns, name: after.Name, template: after.Spec.Template}
	if len(out.template.Labels) == 0 {
		return nil, fmt.Errorf("deployment %s/%s: its template has no labels", ns, after.Name)
	}
	var have []*corev1.Pod
	hash := "forecast"
	if now != nil {
		sets, err := w.replicaSetsOf(ctx, now)
		if err != nil {
			return nil, err
		}
		current := deploymentutil.FindNewReplicaSet(after, sets)
		for _, rs := range sets {
			pods, err := w.owned(ctx, ns, rs.UID)
			if err != nil {
				return nil, err
			}
			if rs == current {
				hash = rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
			}
			if rs == current || after.Spec.Paused {
				have, out.owner = append(have, pods...), rs.UID
			} else {
				out.goes, out.why = append(out.goes, pods...), templateChanged
			}
		}
	}
	out.template.Labels = maps.Clone(out.template.Labels)
	out.template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	why := out.why
	out.fill(have, count(after.Spec.Replicas, 1))
	if why != "" {
		out.why = why
	}
	return out, nil
}

func (w *world) replicaSetsOf(ctx context.Context, d *appsv1.Deployment) (out []*appsv1.ReplicaSet, err error) {
	all, err := w.client.AppsV1().ReplicaSets(d.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range all.Items {
		if metav1.IsControlledBy(&all.Items[i], d) {
			out = append(out, &all.Items[i])
		}
	}
	return out, nil
}

// statefulSet knows its pods by ordinal.
func (w *world) statefulSet(ctx context.Context, m manifest) (*workload, error) {
	ns := m.object.(metav1.Object).GetNamespace()
	now, after, err := applied(m, func(name string) (*appsv1.StatefulSet, error) {
		return w.client.AppsV1().StatefulSets(ns).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, err
	}
	out := &workload{kind: "StatefulSet", namespace: ns, name: after.Name, template: *after.Spec.Template.DeepCopy(), owner: after.UID}
	claimed(&out.template.Spec, after.Name, after)
	var have []*corev1.Pod
	changed := false
	if now != nil {
		if have, err = w.owned(ctx, ns, now.UID); err != nil {
			return nil, err
		}
		changed = !apiequality.Semantic.DeepEqual(now.Spec.Template, after.Spec.Template) && after.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType
	}
	first, from := 0, 0
	if o := after.Spec.Ordinals; o != nil {
		first = int(o.Start)
	}
	if r := after.Spec.UpdateStrategy.RollingUpdate; r != nil {
		from = count(r.Partition, 0)
	}
	for i := first; i < first+min(count(after.Spec.Replicas, 1), mostPods+1); i++ {
		name := fmt.Sprintf("%s-%d", after.Name, i)
		at := slices.IndexFunc(have, func(p *corev1.Pod) bool { return p.Name == name })
		if at >= 0 {
			p := have[at]
			have = slices.Delete(have, at, at+1)
			if !changed || i < from {
				out.stays = append(out.stays, p)
				continue
			}
			out.goes, out.why = append(out.goes, p), templateChanged
		}
		out.add(name, func(p *corev1.Pod) { claimed(&p.Spec, p.Name, after) })
	}
	if len(have) > 0 {
		out.goes, out.why = append(out.goes, have...), "scaled down"
	}
	return out, nil
}

// claimed gives the pod of that name its claims, which may lie on one node.
func claimed(s *corev1.PodSpec, name string, set *appsv1.StatefulSet) {
	for _, c := range set.Spec.VolumeClaimTemplates {
		s.Volumes = slices.DeleteFunc(s.Volumes, func(v corev1.Volume) bool { return v.Name == c.Name })
		s.Volumes = append(s.Volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name + "-" + name}}})
	}
}

// daemonSet has one pod on each node that upstream's rule names.
func (w *world) daemonSet(ctx context.Context, m manifest) (*workload, error) {
	ns := m.object.(metav1.Object).GetNamespace()
	now, after, err := applied(m, func(name string) (*appsv1.DaemonSet, error) {
		return w.client.AppsV1().DaemonSets(ns).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, err
	}
	daemonutil.AddOrUpdateDaemonPodTolerations(&after.Spec.Template.Spec)
	out := &workload{kind: "DaemonSet", namespace: ns, name: after.Name, template: after.Spec.Template, owner: after.UID}
	on := map[string]*corev1.Pod{}
	changed := false
	if now != nil {
		have, err := w.owned(ctx, ns, now.UID)
		if err != nil {
			return nil, err
		}
		for _, p := range have {
			on[daemonNode(p)] = p
		}
		before := now.Spec.Template.DeepCopy()
		daemonutil.AddOrUpdateDaemonPodTolerations(&before.Spec)
		changed = !apiequality.Semantic.DeepEqual(before, &after.Spec.Template) && after.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType
	}
	for _, n := range w.nodes {
		wanted, tolerated := daemon.NodeShouldRunDaemonPod(klog.FromContext(ctx), n, after)
		p := on[n.Name]
		switch {
		case p != nil && tolerated && !changed:
			out.stays = append(out.stays, p)
			continue
		case p != nil && tolerated:
			out.goes, out.why = append(out.goes, p), templateChanged
		case p != nil:
			out.goes, out.why = append(out.goes, p), "its node is not for it"
		}
		if wanted {
			out.add(after.Name+"-(on "+n.Name+")", func(p *corev1.Pod) {
				p.Spec.Affinity = daemonutil.ReplaceDaemonSetPodNodeNameNodeAffinity(p.Spec.Affinity, n.Name)
			})
		}
	}
	return out, nil
}

// daemonNode is the node of a DaemonSet's pod, also while it waits for it.
func daemonNode(p *corev1.Pod) string {
	name, err := daemonutil.GetTargetNodeName(p)
	if err != nil {
		return p.Spec.NodeName
	}
	return name
}

// job has as many pods at once as it may and still needs. The template of a Job can't change.
func (w *world) job(ctx context.Context, m manifest) (*workload, error) {
	ns := m.object.(metav1.Object).GetNamespace()
	now, after, err := applied(m, func(name string) (*batchv1.Job, error) {
		return w.client.BatchV1().Jobs(ns).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, err
	}
	out := &workload{kind: "Job", namespace: ns, name: after.Name, template: after.Spec.Template, owner: after.UID}
	var have []*corev1.Pod
	want := count(after.Spec.Parallelism, 1)
	if after.Spec.Completions != nil {
		want = min(want, int(*after.Spec.Completions)-int(after.Status.Succeeded))
	}
	if now != nil {
		if have, err = w.owned(ctx, ns, now.UID); err != nil {
			return nil, err
		}
	}
	ended := slices.ContainsFunc(after.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
	if ended || after.Spec.Suspend != nil && *after.Spec.Suspend {
		want = 0
	}
	out.fill(have, max(want, 0))
	return out, nil
}
