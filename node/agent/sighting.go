package agent

import (
	"time"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/orpheus-mesh/orpheus/node/agent/probes"
)

// sighting is all that a decision about one pod depends on: what is wished, what the engine has, and what this life of the
// daemon remembers. The zero value of every memory is right after a restart.
type sighting struct {
	Now      time.Time
	Pod      *v1.Pod
	Sandbox  *instance // the newest, running or dead; nil when there is none
	Attached bool      // the sandbox has its network
	Of       map[string][]instance
	Probes   map[string]probes.Standing // by container ID; absent: no probe has to say anything
	Hooks    map[string]bool            // postStart runs, by container ID
	Stopping map[string]bool            // by container ID
	Again    map[string]bool            // by container ID: restart whatever the policy says (failed probe, changed spec)
	Pulls    map[string]pull            // by container name
	Troubles map[string]trouble         // by container name; "" is the pod's own
}

// trouble is why something cannot be done now, and when it is tried again.
type trouble struct {
	Reason, Message string
	Since, Retry    time.Time
	Count           int
}

// pull is the state of one image for one container's next start: on its way, there, or failed.
type pull struct {
	Flying  bool
	ImageID string
	Failed  *trouble
	Known   string // what Images.Known said of it when it failed
}

func (s *sighting) sandboxRuns() bool { return s.Sandbox != nil && s.Sandbox.State == "running" }

// newest is the latest attempt of a container, in whatever sandbox.
func (s *sighting) newest(name string) *instance {
	if all := s.Of[name]; len(all) > 0 {
		return &all[0]
	}
	return nil
}

// current is the latest attempt when it belongs to the present sandbox.
func (s *sighting) current(name string) *instance {
	if i := s.newest(name); i != nil && s.Sandbox != nil && i.Sandbox == s.Sandbox.ID {
		return i
	}
	return nil
}

func (s *sighting) running() (all []instance) {
	for c := range podutil.ContainerIter(&s.Pod.Spec, podutil.AllContainers) {
		for _, i := range s.Of[c.Name] {
			if i.State == "running" {
				all = append(all, i)
			}
		}
	}
	return all
}

// initialized tells that the init containers are behind the pod: once a regular container exists they never run again in
// this sandbox.
func (s *sighting) initialized() bool {
	for i := range s.Pod.Spec.Containers {
		if s.current(s.Pod.Spec.Containers[i].Name) != nil {
			return true
		}
	}
	return false
}

// attempt is the number that the next start of a container gets. Where the engine lost the containers the status that was
// published before still counts.
func (s *sighting) attempt(name string) int {
	next := 0
	if i := s.newest(name); i != nil {
		next = i.Attempt + 1
	}
	for _, list := range [][]v1.ContainerStatus{s.Pod.Status.ContainerStatuses, s.Pod.Status.InitContainerStatuses} {
		for _, c := range list {
			if c.Name == name && c.ContainerID != "" {
				next = max(next, int(c.RestartCount)+1)
			}
		}
	}
	return next
}

// started tells that a running container's postStart hook and startup probe are behind it.
func (s *sighting) started(i *instance) bool {
	if i.State != "running" || s.Hooks[i.ID] {
		return false
	}
	p, watched := s.Probes[i.ID]
	return !watched || p.Startup == probes.Success
}

func (s *sighting) ready(i *instance) bool {
	if !s.started(i) || s.Stopping[i.ID] {
		return false
	}
	p, watched := s.Probes[i.ID]
	return !watched || p.Readiness == probes.Success
}

// over tells that the pod's end was made public: nothing of it starts again.
func (s *sighting) over() bool {
	return podutil.IsPodPhaseTerminal(s.Pod.Status.Phase)
}
