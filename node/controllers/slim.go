package controllers

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bare takes off what no controller reads. What is bare already is not touched: it may be shared.
func bare(o object) {
	if o.GetManagedFields() != nil {
		o.SetManagedFields(nil)
	}
}

// slimPod keeps of a pod what its readers need. A StatefulSet's controller writes back the pods that it read, a
// DaemonSet's reads their affinity and an orphan may be adopted by either: those stay whole. The pods of ReplicaSets and
// Jobs, which are the many, are only counted, ranked and patched by name, and resolved to endpoints by their ports.
func slimPod(o object) {
	bare(o)
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	if ref := metav1.GetControllerOf(pod); ref == nil || ref.Kind != "ReplicaSet" && ref.Kind != "Job" {
		return
	}
	s := &pod.Spec
	pod.Spec = corev1.PodSpec{
		NodeName: s.NodeName, Hostname: s.Hostname, Subdomain: s.Subdomain, SetHostnameAsFQDN: s.SetHostnameAsFQDN,
		HostNetwork: s.HostNetwork, RestartPolicy: s.RestartPolicy, ReadinessGates: s.ReadinessGates,
		TerminationGracePeriodSeconds: s.TerminationGracePeriodSeconds, ActiveDeadlineSeconds: s.ActiveDeadlineSeconds,
		PriorityClassName: s.PriorityClassName, Overhead: s.Overhead, // quotas read these, and the resources below
		Containers: slimContainers(s.Containers), InitContainers: slimContainers(s.InitContainers),
	}
}

func slimContainers(in []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(in))
	for i, c := range in {
		out[i] = corev1.Container{Name: c.Name, Ports: c.Ports, RestartPolicy: c.RestartPolicy, Resources: c.Resources}
	}
	return out
}

// slimAny is the transform of the informers that show everything (a view slims for itself). Deployments, StatefulSets and DaemonSets are read
// there for their scale, selector and strategy only.
func slimAny(in any) (any, error) {
	o, ok := in.(object)
	if !ok {
		return in, nil // the mark of a deletion whose object was not seen
	}
	switch t := o.(type) {
	case *appsv1.Deployment:
		t.Spec.Template = corev1.PodTemplateSpec{}
	case *appsv1.StatefulSet:
		t.Spec.Template, t.Spec.VolumeClaimTemplates = corev1.PodTemplateSpec{}, nil
	case *corev1.ReplicationController:
		t.Spec.Template = nil
	case *corev1.Node:
		t.Status.Images = nil
	}
	bare(o)
	return o, nil
}
