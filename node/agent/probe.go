package agent

import (
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/orpheus-mesh/orpheus/node/agent/probes"
)

// probe begins to watch a running container. One that a former life of the daemon started is believed to be as it was
// published until it answers.
func (w *worker) probe(ctx context.Context, s *sighting, c *v1.Container, i instance) probes.Standing {
	target := probes.Target{ID: i.ID, Address: w.address(s.Pod), Container: c, Started: i.Started}
	ref := about(s.Pod, c.Name)
	watch := probes.Start(ctx, w.a.ask, target, before(s.Pod, i), w.poke, func(what string) {
		w.a.events.Event(ref, v1.EventTypeWarning, "Unhealthy", what)
	})
	w.watches[i.ID] = watch
	return watch.Standing()
}

// before is what was published of this very instance, or nil.
func before(pod *v1.Pod, i instance) *probes.Standing {
	all := slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses)
	at := slices.IndexFunc(all, func(c v1.ContainerStatus) bool {
		return c.ContainerID == containerID(i.ID) && c.State.Running != nil
	})
	if at < 0 {
		return nil
	}
	st := &probes.Standing{Startup: probes.Unknown, Liveness: probes.Success, Readiness: probes.Failure}
	if started := all[at].Started; started != nil && *started {
		st.Startup = probes.Success
	}
	if all[at].Ready {
		st.Readiness = probes.Success
	}
	return st
}

func containerID(id string) string { return "docker://" + id }

// containerOf is a container of a pod of whatever kind, by name.
func containerOf(pod *v1.Pod, name string) *v1.Container {
	for c := range podutil.ContainerIter(&pod.Spec, podutil.AllContainers) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// about is what an event about a pod, or one of its containers, is about.
func about(pod *v1.Pod, container string) *v1.ObjectReference {
	r := &v1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion}
	if container == "" {
		return r
	}
	field := "containers"
	if slices.ContainsFunc(pod.Spec.InitContainers, func(c v1.Container) bool { return c.Name == container }) {
		field = "initContainers"
	}
	r.FieldPath = "spec." + field + "{" + container + "}"
	return r
}

// address is where the pod answers.
func (w *worker) address(pod *v1.Pod) string {
	if pod.Spec.HostNetwork {
		return w.a.cfg.Addr.String()
	}
	return w.addr.String()
}
