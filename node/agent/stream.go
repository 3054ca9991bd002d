package agent

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/node/agent/streaming"
	"github.com/orpheus-mesh/orpheus/node/docker"
)

const lookupTimeout = 10 * time.Second

var _ streaming.Pods = (*Agent)(nil)

// instances lists what the engine has of one pod by the pod's name, sandbox included under "".
func (a *Agent) instances(namespace, pod string) (map[string][]instance, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	all, err := a.cfg.Docker.List(ctx, nil, labelNamespace+"="+namespace, labelPod+"="+pod)
	if err != nil {
		return nil, err
	}
	uid := a.living(namespace, pod, all)
	out := map[string][]instance{}
	for _, c := range all {
		if c.Labels[labelUID] == uid {
			i := instanceOf(c)
			out[i.Of] = append(out[i.Of], i)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("pod %s/%s has no containers on node %s", namespace, pod, a.cfg.NodeName)
	}
	for _, list := range out {
		newestFirst(list)
	}
	return out, nil
}

// living is the UID that the name stands for: of several pods that had it the one that is wanted, else the youngest.
func (a *Agent) living(namespace, pod string, all []docker.Container) (uid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var born time.Time
	for _, c := range all {
		if w := a.workers[types.UID(c.Labels[labelUID])]; w != nil {
			if p, gone := w.wanted(); !gone && p.Namespace == namespace && p.Name == pod && p.DeletionTimestamp == nil {
				return c.Labels[labelUID]
			}
		}
		if c.Created.After(born) {
			uid, born = c.Labels[labelUID], c.Created
		}
	}
	return uid
}

// Running is the live container of that name.
func (a *Agent) Running(namespace, pod, container string) (streaming.Target, error) {
	all, err := a.instances(namespace, pod)
	if err != nil {
		return streaming.Target{}, err
	}
	for _, i := range all[container] {
		if i.State == docker.Running {
			return streaming.Target{ID: i.ID, TTY: i.TTY}, nil
		}
	}
	return streaming.Target{}, fmt.Errorf("container %q of pod %s/%s is not running", container, namespace, pod)
}

// Logged is the newest container of that name, or with previous the dead one before it. A dead newest one that is going to
// be restarted is the previous one too.
func (a *Agent) Logged(namespace, pod, container string, previous bool) (streaming.Target, error) {
	all, err := a.instances(namespace, pod)
	if err != nil {
		return streaming.Target{}, err
	}
	list := all[container]
	if previous && len(list) > 0 && list[0].State == docker.Running {
		list = list[1:]
	}
	if len(list) == 0 {
		if previous {
			return streaming.Target{}, fmt.Errorf("previous terminated container %q in pod %q not found", container, pod)
		}
		return streaming.Target{}, fmt.Errorf("container %q in pod %q is waiting to start%s", container, pod, a.whyWaiting(namespace, pod, container))
	}
	return streaming.Target{ID: list[0].ID, TTY: list[0].TTY}, nil
}

// whyWaiting is the end of a sentence: what keeps a container from its start, in the kubelet's words; "" where nobody knows.
func (a *Agent) whyWaiting(namespace, pod, container string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		p, gone := w.wanted()
		if gone || p.Namespace != namespace || p.Name != pod {
			continue
		}
		for _, list := range [][]v1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for _, c := range list {
				if reason := waitsFor(c); c.Name == container && reason != "" {
					return ": " + waitingWords(reason)
				}
			}
		}
	}
	return ""
}

func waitingWords(reason string) string {
	switch reason {
	case reasonErrImagePull:
		return "image can't be pulled"
	case reasonImageBackOff:
		return "trying and failing to pull image"
	}
	return reason
}

// Sandbox is a process in the pod's network namespace.
func (a *Agent) Sandbox(namespace, pod string) (int, error) {
	all, err := a.instances(namespace, pod)
	if err != nil {
		return 0, err
	}
	for _, i := range all[""] {
		if i.State == docker.Running {
			return i.PID, nil
		}
	}
	return 0, fmt.Errorf("pod %s/%s is not running", namespace, pod)
}
