package controllers

import (
	batchv1 "k8s.io/api/batch/v1"
)

// homeLens hides what has its home elsewhere. It is for the primary objects of a controller, never for their dependents:
// a ReplicaSet that came into sight before its pods would get a second set of them, and informers have no order among
// each other. That is why the dependents of all homes are always in sight, slimmed.
type homeLens struct {
	mine func(kind, namespace, name string) bool
	kind string
}

func (l homeLens) show(raw object) object {
	if !l.mine(l.kind, raw.GetNamespace(), raw.GetName()) {
		return nil
	}
	return raw
}

func (homeLens) same(_, _ object) bool { return true }
func (homeLens) gone(string)           {}
func (homeLens) stale() bool           { return false }

// Elsewhere is the managedBy that the Job controller reads on a Job whose home is another node. It is nowhere stored.
const Elsewhere = "orpheus.dev/another-home"

// jobLens shows every Job, those of other homes as managed by somebody else. Hiding them would lose data: for upstream's
// controller a Job that vanished has been deleted, and it takes the tracking finalizers off that Job's pods before
// anyone has counted them.
type jobLens struct {
	mine func(kind, namespace, name string) bool
}

func (l jobLens) show(raw object) object {
	job, ok := raw.(*batchv1.Job)
	if !ok || l.mine("batch/jobs", job.Namespace, job.Name) {
		return raw
	}
	masked, by := *job, Elsewhere
	masked.Spec.ManagedBy = &by
	return &masked
}

func (jobLens) same(a, b object) bool { return managedBy(a) == managedBy(b) }
func (jobLens) gone(string)           {}
func (jobLens) stale() bool           { return false }

func managedBy(o object) string {
	if job, ok := o.(*batchv1.Job); ok && job.Spec.ManagedBy != nil {
		return *job.Spec.ManagedBy
	}
	return ""
}
