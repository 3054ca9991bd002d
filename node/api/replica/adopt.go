package replica

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/apis/batch"
)

// adopt puts the store's UID where upstream's strategy wrote the registry's random one into the object itself, before the
// store gave it the one that is the same on every node. Only Jobs do so: their selector and their pods' labels name the
// Job by UID, and validation refuses every later update of a Job that names another. The random UID is not stored, but
// where the selector is not the user's own, what stands there is it.
func adopt(obj runtime.Object, uid types.UID) {
	job, ok := obj.(*batch.Job)
	if !ok || job.Spec.Selector == nil || job.Spec.ManualSelector != nil && *job.Spec.ManualSelector {
		return
	}
	random := job.Spec.Selector.MatchLabels[batch.ControllerUidLabel]
	if random == "" || random == string(uid) {
		return
	}
	for _, l := range []map[string]string{job.Labels, job.Spec.Template.Labels, job.Spec.Selector.MatchLabels} {
		for _, name := range []string{batch.LegacyControllerUidLabel, batch.ControllerUidLabel} {
			if l[name] == random {
				l[name] = string(uid)
			}
		}
	}
}
