package agent

import (
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/kubelet/status"
)

// place is where a pod runs, for its status.
type place struct {
	Host     netip.Addr
	Pod      netip.Addr                               // zero while it has none
	Message  func(i instance, c *v1.Container) string // what a dead container left as its last words; may be slow, is asked once an instance
	Ending   bool                                     // the pod is being deleted: nothing restarts
	Terminal bool                                     // and everything of it has ended
}

// statusOf is what the world is told about the pod. before is what was told last: times of conditions that did not change
// and what others wrote (conditions of readiness gates) are kept.
func statusOf(s *sighting, p *plan, at place, before *v1.PodStatus) v1.PodStatus {
	pod := s.Pod
	st := *before.DeepCopy()
	st.ObservedGeneration = pod.Generation
	st.QOSClass = qos.ComputePodQOS(pod)
	if st.StartTime == nil {
		now := metav1.NewTime(s.Now).Rfc3339Copy()
		st.StartTime = &now
	}
	addresses(&st, pod, at)
	st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses = nil, nil, nil
	for c, kind := range podutil.ContainerIter(&pod.Spec, podutil.AllContainers) {
		cs := containerStatus(s, p, at, c, kind, before)
		switch kind {
		case podutil.Containers:
			st.ContainerStatuses = append(st.ContainerStatuses, cs)
		case podutil.InitContainers:
			st.InitContainerStatuses = append(st.InitContainerStatuses, cs)
		case podutil.EphemeralContainers:
			st.EphemeralContainerStatuses = append(st.EphemeralContainerStatuses, cs)
		}
	}
	switch {
	case podutil.IsPodPhaseTerminal(before.Phase):
	case p.Failed != "":
		st.Reason, st.Message = p.Failed, "Pod was active on the node longer than the specified deadline"
		st.Phase = v1.PodFailed
	case at.Ending && !at.Terminal && before.Phase != "":
		st.Phase = before.Phase
	default:
		st.Phase = phaseOf(pod, &st, at.Terminal, everRan(s))
	}
	conditions(s, &st, before)
	return st
}

func everRan(s *sighting) bool {
	return slices.ContainsFunc(s.Pod.Spec.Containers, func(c v1.Container) bool { return s.newest(c.Name) != nil })
}

func addresses(st *v1.PodStatus, pod *v1.Pod, at place) {
	if at.Host.IsValid() {
		st.HostIP = at.Host.String()
		st.HostIPs = []v1.HostIP{{IP: st.HostIP}}
	}
	addr := at.Pod
	if pod.Spec.HostNetwork {
		addr = at.Host
	}
	if addr.IsValid() {
		st.PodIP = addr.String()
		st.PodIPs = []v1.PodIP{{IP: st.PodIP}}
	}
}

func conditions(s *sighting, st *v1.PodStatus, before *v1.PodStatus) {
	pod := s.Pod
	sandbox := v1.PodCondition{Type: v1.PodReadyToStartContainers, Status: v1.ConditionFalse, ObservedGeneration: pod.Generation}
	if s.sandboxRuns() && s.Attached {
		sandbox.Status = v1.ConditionTrue
	}
	all := append(append([]v1.ContainerStatus{}, st.InitContainerStatuses...), st.ContainerStatuses...)
	now := []v1.PodCondition{
		sandbox,
		status.GeneratePodInitializedCondition(pod, before, all, st.Phase),
		status.GeneratePodReadyCondition(pod, before, st.Conditions, all, st.Phase),
		status.GenerateContainersReadyCondition(pod, before, all, st.Phase),
		{Type: v1.PodScheduled, Status: v1.ConditionTrue, ObservedGeneration: pod.Generation},
	}
	for _, c := range now {
		c.ObservedGeneration = pod.Generation
		setCondition(st, c, metav1.NewTime(s.Now).Rfc3339Copy())
	}
}

// setCondition keeps the transition time of a condition whose status stayed.
func setCondition(st *v1.PodStatus, c v1.PodCondition, now metav1.Time) {
	c.LastTransitionTime = now
	if i, old := podutil.GetPodCondition(st, c.Type); old != nil {
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		st.Conditions[i] = c
		return
	}
	st.Conditions = append(st.Conditions, c)
}

func containerStatus(s *sighting, p *plan, at place, c *v1.Container, kind podutil.ContainerType, before *v1.PodStatus) v1.ContainerStatus {
	no := false
	cs := v1.ContainerStatus{Name: c.Name, Image: c.Image, Started: &no}
	old := podutil.GetExistingContainerStatus(slices.Concat(before.ContainerStatuses, before.InitContainerStatuses, before.EphemeralContainerStatuses), c.Name)
	cur := s.newest(c.Name)
	if cur == nil {
		return neverRan(s, p, cs, old, c.Name)
	}
	cs.ContainerID, cs.ImageID, cs.RestartCount = "docker://"+cur.ID, "docker://"+cur.ImageID, int32(cur.Attempt)
	if all := s.Of[c.Name]; len(all) > 1 && all[1].Dead() {
		cs.LastTerminationState.Terminated = terminated(all[1], at, c, old)
	} else if cur.Attempt > 0 {
		cs.LastTerminationState = old.LastTerminationState
	}
	w, waits := p.Waiting[c.Name]
	switch {
	case cur.State == "running" && s.Hooks[cur.ID]:
		cs.State.Waiting = &v1.ContainerStateWaiting{Reason: creating(s)}
	case cur.State == "running":
		yes := s.started(cur)
		cs.State.Running = &v1.ContainerStateRunning{StartedAt: metav1.NewTime(cur.Started).Rfc3339Copy()}
		cs.Started, cs.Ready = &yes, s.ready(cur)
	case waits && !at.Ending:
		cs.State.Waiting = &v1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}
		cs.LastTerminationState.Terminated = terminated(*cur, at, c, old)
	default:
		cs.State.Terminated = terminated(*cur, at, c, old)
		cs.Ready = kind == podutil.InitContainers && cur.ExitCode == 0 && cur.Error == "" && !podutil.IsRestartableInitContainer(c)
	}
	return cs
}

// neverRan is the status of a container that the engine does not have. One that was there before (removed by hand, or swept
// with its pod) keeps what was told of it, as its past.
func neverRan(s *sighting, p *plan, cs, old v1.ContainerStatus, name string) v1.ContainerStatus {
	if old.State.Terminated != nil {
		return old
	}
	if old.State.Running != nil {
		cs.ContainerID, cs.ImageID, cs.RestartCount = old.ContainerID, old.ImageID, old.RestartCount
		gone := &v1.ContainerStateTerminated{Reason: "ContainerStatusUnknown", ExitCode: bySIGKILL, ContainerID: old.ContainerID,
			Message: "The container could not be located when the pod was last looked at", StartedAt: old.State.Running.StartedAt}
		if s.over() {
			cs.State.Terminated = gone
			return cs
		}
		cs.LastTerminationState.Terminated = gone
	} else {
		cs.ContainerID, cs.RestartCount, cs.LastTerminationState = old.ContainerID, old.RestartCount, old.LastTerminationState
	}
	if (p.Failed != "" || s.over()) && len(s.Pod.Spec.InitContainers) == 0 {
		// The pod ended before it began: who still read ContainerCreating would wait for ever.
		cs.State.Terminated = &v1.ContainerStateTerminated{Reason: "ContainerStatusUnknown", ExitCode: bySIGKILL, Message: "The pod ended before the container was started"}
		return cs
	}
	cs.State.Waiting = &v1.ContainerStateWaiting{Reason: creating(s)}
	if w, ok := p.Waiting[name]; ok {
		cs.State.Waiting = &v1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}
	}
	return cs
}

func creating(s *sighting) string {
	if len(s.Pod.Spec.InitContainers) > 0 {
		return "PodInitializing"
	}
	return "ContainerCreating"
}

// bySIGKILL is the exit code of what the kernel killed, for want of memory too.
const bySIGKILL = 137

// terminated tells how an instance ended. What was told of this instance before is told again: it cannot change, but for word of its
// want of memory, which may come late.
func terminated(i instance, at place, c *v1.Container, old v1.ContainerStatus) *v1.ContainerStateTerminated {
	for _, t := range []*v1.ContainerStateTerminated{old.State.Terminated, old.LastTerminationState.Terminated} {
		if t != nil && t.ContainerID == "docker://"+i.ID {
			t = t.DeepCopy()
			if i.OOMKilled {
				t.Reason = "OOMKilled"
			}
			return t
		}
	}
	t := &v1.ContainerStateTerminated{ExitCode: int32(i.ExitCode), ContainerID: "docker://" + i.ID,
		StartedAt: metav1.NewTime(i.Started).Rfc3339Copy(), FinishedAt: metav1.NewTime(i.Finished).Rfc3339Copy()}
	switch {
	case i.OOMKilled:
		t.Reason = "OOMKilled"
	case i.Error != "":
		t.Reason, t.Message = "StartError", strings.TrimSpace(i.Error)
		if t.ExitCode == 0 {
			t.ExitCode = 128
		}
		return t
	case i.ExitCode == 0:
		t.Reason = "Completed"
	default:
		t.Reason = "Error"
	}
	if at.Message != nil {
		t.Message = at.Message(i, c)
	}
	return t
}
