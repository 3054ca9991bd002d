package agent

import (
	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// census counts a pod's containers by how they stand; the phase follows from the counts alone.
type census struct {
	initPending, sidecarsPending, waiting, running int
	stopped, stoppedForGood, succeeded             int
	initFailed                                     bool
}

func count(pod *v1.Pod, st *v1.PodStatus) (c census) {
	for i := range pod.Spec.InitContainers {
		ic := &pod.Spec.InitContainers[i]
		cs := podutil.GetExistingContainerStatus(st.InitContainerStatuses, ic.Name)
		if podutil.IsRestartableInitContainer(ic) {
			c.sidecar(cs)
		} else {
			c.init(pod, ic, cs)
		}
	}
	for i := range pod.Spec.Containers {
		c.regular(pod, &pod.Spec.Containers[i], podutil.GetExistingContainerStatus(st.ContainerStatuses, pod.Spec.Containers[i].Name))
	}
	return c
}

// lastEnd is how a container that does not run ended, if it ever ran.
func lastEnd(cs v1.ContainerStatus) *v1.ContainerStateTerminated {
	if cs.State.Terminated != nil {
		return cs.State.Terminated
	}
	return cs.LastTerminationState.Terminated
}

func (c *census) init(pod *v1.Pod, ic *v1.Container, cs v1.ContainerStatus) {
	end := lastEnd(cs)
	switch {
	case cs.State.Running != nil || end == nil:
		c.initPending++
	case end.ExitCode != 0:
		if podutil.ContainerShouldRestart(*ic, pod.Spec, end.ExitCode) {
			c.initPending++
		} else {
			c.initFailed = true
		}
	}
}

func (c *census) sidecar(cs v1.ContainerStatus) {
	switch {
	case cs.State.Running != nil:
		c.running++
		if cs.Started == nil || !*cs.Started {
			c.sidecarsPending++
		}
	case lastEnd(cs) == nil:
		c.sidecarsPending++
		c.waiting++
	}
}

func (c *census) regular(pod *v1.Pod, rc *v1.Container, cs v1.ContainerStatus) {
	end := lastEnd(cs)
	switch {
	case cs.State.Running != nil:
		c.running++
	case end == nil:
		c.waiting++
	default:
		c.stopped++
		if !podutil.ContainerShouldRestart(*rc, pod.Spec, end.ExitCode) {
			c.stoppedForGood++
		}
		if cs.State.Terminated != nil && end.ExitCode == 0 {
			c.succeeded++
		}
	}
}

// phaseOf is the pod's phase. ending tells that nothing restarts any more whatever the policy says; initialized that
// regular containers have been started before.
func phaseOf(pod *v1.Pod, st *v1.PodStatus, ending, initialized bool) v1.PodPhase {
	c := count(pod, st)
	switch {
	case c.initFailed:
		return v1.PodFailed
	case c.initPending > 0, c.sidecarsPending > 0 && !initialized, c.waiting > 0:
		return v1.PodPending
	case c.running > 0:
		return v1.PodRunning
	case c.stopped == 0:
		return v1.PodPending
	case !ending && c.stopped != c.stoppedForGood:
		return v1.PodRunning
	case c.stopped == c.succeeded:
		return v1.PodSucceeded
	}
	return v1.PodFailed
}
