package agent

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/orpheus-mesh/orpheus/node/agent/probes"
)

// plan is what to do next for one pod. All of it is safe to do twice.
type plan struct {
	Sandbox bool // make a sandbox (and forget a dead one), or give the running one its network
	Pull    []*v1.Container
	Start   []start
	Stop    []stop
	Finish  bool               // every container ended for good: give back sandbox, address and volumes
	Failed  string             // the pod itself fails with this reason (DeadlineExceeded)
	Waiting map[string]waiting // why a container does not run now
	Wake    time.Time          // look again then at the latest; zero: events suffice
}

type start struct {
	Container *v1.Container
	Attempt   int
	Level     int
	ImageID   string
}

type stop struct {
	Instance instance
	Why      string
	Again    bool   // it is to be restarted whatever the restart policy says
	Grace    *int64 // seconds, where a probe has its own; else the pod's
}

type waiting struct{ Reason, Message string }

func (p *plan) wakeAt(t time.Time) {
	if p.Wake.IsZero() || t.Before(p.Wake) {
		p.Wake = t
	}
}

// decide is the heart of the agent: what a pod needs now. It reads nothing but the sighting.
func decide(s *sighting) *plan {
	p := &plan{Waiting: map[string]waiting{}}
	if s.over() {
		p.end(s, "pod is over")
		return p
	}
	if d := s.Pod.Spec.ActiveDeadlineSeconds; d != nil && s.Pod.Status.StartTime != nil {
		at := s.Pod.Status.StartTime.Add(time.Duration(*d) * time.Second)
		if !s.Now.Before(at) {
			p.Failed = "DeadlineExceeded"
			p.end(s, "pod was active on the node longer than the specified deadline")
			return p
		}
		p.wakeAt(at)
	}
	if p.done(s) {
		p.endSidecarsThenFinish(s)
		return p
	}
	if !s.sandboxRuns() {
		if p.leaveSandbox(s) {
			p.sandbox(s)
		}
		return p
	}
	if !s.Attached {
		p.sandbox(s)
		return p
	}
	if p.inits(s) {
		p.regulars(s)
	}
	return p
}

// leaveSandbox stops what still runs without a living sandbox, and tells that all of it is gone.
func (p *plan) leaveSandbox(s *sighting) bool {
	left := s.running()
	for _, i := range left {
		p.stop(s, i, "Pod sandbox changed, it will be killed and re-created.", false)
	}
	return len(left) == 0
}

// sandbox asks for one, and for the images of what comes first in it at the same time.
func (p *plan) sandbox(s *sighting) {
	for _, c := range first(s.Pod) {
		p.image(s, c)
	}
	if t, ok := s.Troubles[""]; ok && s.Now.Before(t.Retry) {
		p.wakeAt(t.Retry)
		return
	}
	p.Sandbox = true
}

// first lists the containers that start first.
func first(pod *v1.Pod) (all []*v1.Container) {
	if len(pod.Spec.InitContainers) > 0 {
		return []*v1.Container{&pod.Spec.InitContainers[0]}
	}
	for i := range pod.Spec.Containers {
		all = append(all, &pod.Spec.Containers[i])
	}
	return all
}

// inits goes through the init containers in their order and tells that all of them are behind us. Sidecars (init
// containers that always restart) are kept running for as long as the pod lives.
func (p *plan) inits(s *sighting) bool {
	behind := s.initialized()
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		cur := s.current(c.Name)
		if podutil.IsRestartableInitContainer(c) {
			p.keep(s, c, cur)
			if !behind && (cur == nil || !s.started(cur)) {
				return false
			}
			continue
		}
		if behind {
			continue
		}
		if cur != nil && cur.Dead() && cur.ExitCode == 0 && cur.Error == "" {
			continue
		}
		p.keep(s, c, cur)
		return false
	}
	return true
}

// regulars keeps the pod's containers. One whose postStart hook has not finished holds up those after it that were not
// started yet, as proxies that must be first rely on. Ephemeral containers (kubectl debug) run once.
func (p *plan) regulars(s *sighting) {
	held := false
	for i := range s.Pod.Spec.Containers {
		c := &s.Pod.Spec.Containers[i]
		cur := s.current(c.Name)
		if cur != nil || !held {
			p.keep(s, c, cur)
		}
		held = held || hasPostStart(c) && (cur == nil || s.Hooks[cur.ID])
	}
	for i := range s.Pod.Spec.EphemeralContainers {
		c := (*v1.Container)(&s.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if s.newest(c.Name) == nil {
			p.start(s, c, 0)
		}
	}
}

func hasPostStart(c *v1.Container) bool { return c.Lifecycle != nil && c.Lifecycle.PostStart != nil }

// keep does what one container needs to be where its policy wants it.
func (p *plan) keep(s *sighting, c *v1.Container, cur *instance) {
	if cur != nil && cur.State == "running" {
		p.watch(s, c, cur)
		return
	}
	last := s.newest(c.Name)
	if last == nil {
		p.start(s, c, 0)
		return
	}
	if cur != nil && !restarts(s, c, cur) {
		return
	}
	level := last.Level
	if last.Hash != specHash(c) {
		p.start(s, c, 0)
		return
	}
	wait, next := crashBackoff(level, time.Duration(last.ended()-last.Started.UnixNano())*zeroUnless(!last.Started.IsZero()))
	if at := time.Unix(0, last.ended()).Add(wait); s.Now.Before(at) {
		p.Waiting[c.Name] = waiting{reasonCrashLoop, fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
			wait, c.Name, s.Pod.Name, s.Pod.Namespace, s.Pod.UID)}
		p.wakeAt(at)
		return
	}
	p.start(s, c, next)
}

func zeroUnless(b bool) time.Duration {
	if b {
		return 1
	}
	return 0
}

// watch stops a running container whose probe failed or whose spec changed.
func (p *plan) watch(s *sighting, c *v1.Container, cur *instance) {
	switch pr := s.Probes[cur.ID]; {
	case cur.Hash != specHash(c):
		p.stop(s, *cur, fmt.Sprintf("Container %s definition changed, will be restarted", c.Name), true)
	case pr.Startup == probes.Failure:
		p.stopUnwell(s, *cur, "startup", c.StartupProbe)
	case pr.Liveness == probes.Failure:
		p.stopUnwell(s, *cur, "liveness", c.LivenessProbe)
	}
}

// restarts tells that policy wants a dead container to run again.
func restarts(s *sighting, c *v1.Container, i *instance) bool {
	if s.Again[i.ID] && s.Pod.Spec.RestartPolicy != v1.RestartPolicyNever {
		return true
	}
	code := int32(i.ExitCode)
	if i.Error != "" && code == 0 {
		code = 128
	}
	return podutil.IsRestartableInitContainer(c) || podutil.ContainerShouldRestart(*c, s.Pod.Spec, code)
}

// start orders a container's image and, once that is there, the container.
func (p *plan) start(s *sighting, c *v1.Container, level int) {
	id, ok := p.image(s, c)
	if t, bad := s.Troubles[c.Name]; bad {
		p.Waiting[c.Name] = waiting{t.Reason, t.Message}
		if s.Now.Before(t.Retry) {
			p.wakeAt(t.Retry)
			return
		}
	}
	if ok {
		p.Start = append(p.Start, start{Container: c, Attempt: s.attempt(c.Name), Level: level, ImageID: id})
	}
}

const (
	errImageShown = 2 * time.Second  // how long a failed pull is shown as itself before it is shown as a back-off
	imageLook     = 10 * time.Second // how soon an image that appeared by itself is seen
)

// image gives the ID of a container's image, or orders it.
func (p *plan) image(s *sighting, c *v1.Container) (string, bool) {
	have := s.Pulls[c.Name]
	if have.ImageID != "" {
		return have.ImageID, true
	}
	if have.Failed != nil {
		p.backOffImage(s, c, have.Failed)
	}
	if !have.Flying && (have.Failed == nil || !s.Now.Before(have.Failed.Retry)) {
		p.Pull = append(p.Pull, c)
	}
	return "", false
}

func (p *plan) backOffImage(s *sighting, c *v1.Container, t *trouble) {
	if s.Now.Before(t.Retry) {
		p.wakeAt(t.Retry)
		p.wakeAt(s.Now.Add(imageLook))
	}
	shown := t.Since.Add(errImageShown)
	if t.Reason == reasonErrImagePull && !s.Now.Before(shown) {
		p.Waiting[c.Name] = waiting{reasonImageBackOff, fmt.Sprintf("Back-off pulling image %q: %s: %s", c.Image, t.Reason, t.Message)}
		return
	}
	p.Waiting[c.Name] = waiting{t.Reason, t.Message}
	if s.Now.Before(shown) {
		p.wakeAt(shown)
	}
}

// Reasons why a container waits, as the field knows them.
const (
	reasonCrashLoop    = "CrashLoopBackOff"
	reasonImageBackOff = "ImagePullBackOff"
	reasonErrImagePull = "ErrImagePull"
	reasonNeverPull    = "ErrImageNeverPull"
	reasonInvalidImage = "InvalidImageName"
	reasonConfigError  = "CreateContainerConfigError"
	reasonCreateError  = "CreateContainerError"
	reasonRunError     = "RunContainerError"
)

func (p *plan) stop(s *sighting, i instance, why string, again bool) {
	if !s.Stopping[i.ID] {
		p.Stop = append(p.Stop, stop{Instance: i, Why: why, Again: again})
	}
}

func (p *plan) stopUnwell(s *sighting, i instance, kind string, probe *v1.Probe) {
	before := len(p.Stop)
	p.stop(s, i, fmt.Sprintf("Container %s failed %s probe, will be restarted", i.Of, kind), true)
	if len(p.Stop) > before && probe != nil {
		p.Stop[before].Grace = probe.TerminationGracePeriodSeconds
	}
}
