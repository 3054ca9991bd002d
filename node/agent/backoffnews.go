package agent

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
)

// tellBackOff says in an event that a container has begun to wait before it is tried again: once each time, which the
// recorder counts together. before and now are statuses of the pod in that order.
func (w *worker) tellBackOff(pod *v1.Pod, before, now *v1.PodStatus) {
	for _, lists := range [][2][]v1.ContainerStatus{
		{before.InitContainerStatuses, now.InitContainerStatuses}, {before.ContainerStatuses, now.ContainerStatuses},
	} {
		was := map[string]string{}
		for _, c := range lists[0] {
			was[c.Name] = waitsFor(c)
		}
		for _, c := range lists[1] {
			switch waitsFor(c) {
			case was[c.Name]:
			case reasonCrashLoop:
				w.warn(pod, c.Name, events.BackOffStartContainer, fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", c.Name, pod.Name, pod.Namespace, pod.UID))
			case reasonImageBackOff:
				// Not the reason, which may name a port that is another each time: equal events count as one.
				w.tellNormal(pod, c.Name, events.BackOffPullImage, fmt.Sprintf("Back-off pulling image %q", c.Image))
			}
		}
	}
}

func waitsFor(c v1.ContainerStatus) string {
	if c.State.Waiting == nil {
		return ""
	}
	return c.State.Waiting.Reason
}
