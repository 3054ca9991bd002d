package outlook

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// admission makes pods as the API would: with defaults, limit ranges, overhead and priority, by creating one for show.
type admission struct {
	world   *world
	classes map[string]*schedulingv1.PriorityClass // of the manifests themselves
}

// admit makes the pods that would come. One pod stands for all of a workload. A namespace, service account or priority class
// that the manifests bring is not there yet: the pod is shown to the API without it.
func (a *admission) admit(ctx context.Context, w *workload) error {
	if len(w.comes) == 0 {
		return nil
	}
	show := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "forecast-", Namespace: w.namespace, Labels: w.template.Labels, Annotations: w.template.Annotations},
		Spec: *w.template.Spec.DeepCopy()}
	if w.kind == "Pod" {
		show.Finalizers = slices.Clone(w.template.Finalizers)
	}
	show.Spec.ServiceAccountName, show.Spec.DeprecatedServiceAccount, show.Spec.AutomountServiceAccountToken = "", "", new(false)
	class := a.classes[show.Spec.PriorityClassName]
	if class != nil {
		show.Spec.PriorityClassName = ""
	}
	if _, err := a.world.client.CoreV1().Namespaces().Get(ctx, w.namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		show.Namespace = metav1.NamespaceDefault
	} else if err != nil {
		return fmt.Errorf("read namespace %s: %w", w.namespace, err)
	}
	pod, err := a.world.client.CoreV1().Pods(show.Namespace).Create(ctx, show, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return err
	}
	if class != nil {
		pod.Spec.PriorityClassName, pod.Spec.Priority, pod.Spec.PreemptionPolicy = class.Name, &class.Value, class.PreemptionPolicy
	}
	for i, c := range w.comes {
		c.pod = pod.DeepCopy()
		w.identify(c, i)
	}
	return nil
}

// identify gives a pod its own identity.
func (w *workload) identify(c *newcomer, i int) {
	p := c.pod
	p.Namespace, p.Name, p.GenerateName = w.namespace, c.name, ""
	p.UID = types.UID(fmt.Sprintf("forecast/%s/%s/%s/%d", w.kind, w.namespace, w.name, i))
	p.OwnerReferences = nil
	if w.kind != "Pod" {
		owner := w.owner
		if owner == "" {
			owner = types.UID("forecast/" + w.kind + "/" + w.namespace + "/" + w.name)
		}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: w.kind, Name: w.name, UID: owner, Controller: new(true)}}
	}
	if c.shape != nil {
		c.shape(p)
	}
}
