package api

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/orpheus-mesh/orpheus/node/api/internal/memory"
)

// What the placement reads of a pod is what the API made of it: a class became a number, and the keys of labels that are to be matched
// became part of the selectors.
func TestPodsArePreparedForPlacement(t *testing.T) {
	w := start(t, onDisk(t))
	withAccount(t, w)
	c := w.admin(t)
	must(c.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 7,
		PreemptionPolicy: ptr.To(v1.PreemptNever)}, metav1.CreateOptions{}))(t)
	web := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	p := aPod("p", func(p *v1.Pod) {
		p.Labels = map[string]string{"app": "web", "rev": "5"}
		p.Spec.PriorityClassName = "high"
		p.Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{
			{TopologyKey: v1.LabelHostname, LabelSelector: web, MatchLabelKeys: []string{"rev"}}}}}
	})
	var shown *v1.Pod
	eventually(t, "admission knows the class", func() (known bool) {
		var err error
		shown, err = c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	if *shown.Spec.Priority != 7 || *shown.Spec.PreemptionPolicy != v1.PreemptNever {
		t.Errorf("priority %d, %s", *shown.Spec.Priority, *shown.Spec.PreemptionPolicy)
	}
	s := shown.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector
	if len(s.MatchExpressions) != 1 || s.MatchExpressions[0].Key != "rev" || s.MatchExpressions[0].Values[0] != "5" {
		t.Errorf("the selector is %v", s)
	}
	if _, err := c.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run left a pod: %v", err)
	}
}

func TestPrivilegedPodsAreTaken(t *testing.T) {
	w := start(t, memory.New())
	withAccount(t, w)
	pod := aPod("p", func(p *v1.Pod) {
		p.Spec.HostNetwork, p.Spec.HostPID = true, true
		p.Spec.Containers[0].SecurityContext = &v1.SecurityContext{Privileged: ptr.To(true)}
	})
	must(w.admin(t).CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}))(t)
}
