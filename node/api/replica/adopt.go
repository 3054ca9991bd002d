package replica

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/apis/batch"
)

// adopt puts the store's UID where upstream's strategy wrote the registry's random one into the object itself, before the
// store gave it the one that is the same on every node. Only Jobs do so: their selector and their pods' labels name the
// Job by UID, and validation refuses every later update of a Job that names another.
func adopt(obj runtime.Object, random, uid types.UID) {
	job, ok := obj.(*batch.Job)
	if !ok || random == uid || random == "" {
		return
	}
	labels := []map[string]string{job.Spec.Template.Labels, job.Labels}
	if job.Spec.Selector != nil {
		labels = append(labels, job.Spec.Selector.MatchLabels)
	}
	for _, l := range labels {
		for _, name := range []string{batch.LegacyControllerUidLabel, batch.ControllerUidLabel} {
			if l[name] == string(random) {
				l[name] = string(uid)
			}
		}
	}
}
