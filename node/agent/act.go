package agent

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// act carries a plan out and tells whether the picture has changed by it at once. What takes its time (pulls, stops, hooks)
// goes on beside the worker.
func (w *worker) act(ctx context.Context, s *sighting, p *plan) (acted bool) {
	for _, st := range p.Stop {
		grace := graceDuration(s.Pod)
		if st.Grace != nil {
			grace = time.Duration(*st.Grace) * time.Second
		}
		w.stop(ctx, s.Pod, st, grace)
	}
	for _, c := range p.Pull {
		w.pull(ctx, s.Pod, c)
	}
	if p.Sandbox {
		acted = w.sandbox(ctx, s) || acted
	}
	for _, st := range p.Start {
		acted = w.start(ctx, s, st) || acted
	}
	if p.Finish {
		acted = w.release(ctx, s) || acted
	}
	return acted
}

// note remembers why something failed and when to try again; what fails again and again is tried at growing distances.
func (w *worker) note(name, reason, message string, pause time.Duration) {
	t := w.troubles[name]
	if t.Reason != reason {
		t = trouble{}
	}
	t.Reason, t.Message, t.Since, t.Count = reason, message, time.Now(), t.Count+1
	t.Retry = t.Since.Add(min(pause<<min(t.Count-1, 4), troubleMost))
	w.troubles[name] = t
}

const (
	troubleFirst = time.Second
	troubleMost  = 10 * time.Second
)

func (w *worker) warn(pod *v1.Pod, container, reason, message string) {
	w.a.events.Event(about(pod, container), v1.EventTypeWarning, reason, message)
}

func (w *worker) tellNormal(pod *v1.Pod, container, reason, message string) {
	w.a.events.Event(about(pod, container), v1.EventTypeNormal, reason, message)
}

// sandbox makes the pod's sandbox and joins it to the network. It tells whether it got any further.
func (w *worker) sandbox(ctx context.Context, s *sighting) bool {
	if err := w.setup(ctx, s.Pod); err != nil {
		w.note("", events.FailedMountVolume, err.Error(), troubleFirst)
		w.warn(s.Pod, "", events.FailedMountVolume, err.Error())
		return false
	}
	if err := w.openSandbox(ctx, s); err != nil {
		w.note("", events.FailedCreatePodSandBox, err.Error(), troubleFirst)
		w.warn(s.Pod, "", events.FailedCreatePodSandBox, "Failed to create pod sandbox: "+err.Error())
		return false
	}
	delete(w.troubles, "")
	return true
}

// setup makes the pod's volumes, once in each life of the daemon.
func (w *worker) setup(ctx context.Context, pod *v1.Pod) error {
	if w.mounted != nil {
		return nil
	}
	w.a.sources.Want(pod)
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	mounted, err := w.a.volumes.Setup(ctx, pod)
	if err != nil {
		return err
	}
	w.mounted, w.fresh = mounted, time.Now()
	return nil
}

const setupTimeout = 30 * time.Second

func (w *worker) openSandbox(ctx context.Context, s *sighting) error {
	if !s.sandboxRuns() {
		if err := w.newSandbox(ctx, s); err != nil {
			return err
		}
	}
	if s.Pod.Spec.HostNetwork {
		return nil
	}
	at := Attachment{PodUID: string(w.uid), PID: s.Sandbox.PID, Addr: w.addr, Ports: hostPorts(s.Pod)}
	if err := w.a.cfg.Net.Attach(ctx, at); err != nil {
		return err
	}
	w.attached = s.Sandbox.ID
	return nil
}

// newSandbox starts a sandbox in the place of a dead one and puts it into the sighting.
func (w *worker) newSandbox(ctx context.Context, s *sighting) error {
	attempt := 0
	if s.Sandbox != nil {
		attempt = s.Sandbox.Attempt + 1
	}
	if !s.Pod.Spec.HostNetwork {
		addr, err := w.a.cfg.Net.Assign(string(w.uid))
		if err != nil {
			return err
		}
		w.addr = addr
	}
	if err := w.a.writeHostFiles(s.Pod, w.addr, w.a.podDir(w.uid)); err != nil {
		return err
	}
	if err := w.a.remember(s.Pod); err != nil {
		return err
	}
	image, err := w.a.pauseImage(ctx)
	if err != nil {
		return err
	}
	release, err := w.a.starting(ctx)
	if err != nil {
		return err
	}
	defer release()
	id, err := w.a.cfg.Docker.Create(ctx, w.a.sandboxSpec(s.Pod, image, w.addr, attempt))
	if docker.IsNotFound(err) {
		w.a.forgetPauseImage() // somebody removed it
	}
	if err != nil {
		return err
	}
	if err := w.a.cfg.Docker.Start(ctx, id); err != nil {
		return err
	}
	c, err := w.a.cfg.Docker.Inspect(ctx, id)
	if err != nil {
		return err
	}
	if old := s.Sandbox; old != nil {
		if err := w.a.cfg.Docker.Remove(ctx, old.ID); err != nil {
			w.a.cfg.Log.Warn("dead sandbox not removed", "pod", podName(s.Pod), "error", err)
		}
		w.tellNormal(s.Pod, "", events.SandboxChanged, "Pod sandbox changed, it will be killed and re-created.")
	}
	made := instanceOf(c)
	s.Sandbox = &made
	return nil
}

// starting waits for its turn: an engine starts few containers at once.
func (a *Agent) starting(ctx context.Context) (release func(), err error) {
	select {
	case a.starts <- struct{}{}:
		return func() { <-a.starts }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func hostPorts(pod *v1.Pod) (out []v1.ContainerPort) {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			for _, p := range c.Ports {
				if p.HostPort > 0 {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// release gives back what only a living pod needs. Dead containers stay for their logs.
func (w *worker) release(ctx context.Context, s *sighting) bool {
	if w.released {
		return false
	}
	uid := string(w.uid)
	if s.Sandbox != nil {
		if err := w.a.cfg.Docker.Remove(ctx, s.Sandbox.ID); err != nil {
			w.note("", events.FailedToKillPod, err.Error(), troubleFirst)
			w.warn(s.Pod, "", events.FailedToKillPod, err.Error())
			return false
		}
	}
	if !s.Pod.Spec.HostNetwork {
		if err := w.a.cfg.Net.Detach(ctx, uid); err != nil {
			w.warn(s.Pod, "", events.FailedToKillPod, err.Error())
			return false
		}
		w.a.cfg.Net.Release(uid)
	}
	w.a.ledger.release(w.uid)
	w.attached, w.released = "", true
	return s.Sandbox != nil
}

// tidy removes attempts that nobody can ask for any more: of each container the newest stays, and the dead one before it.
func (w *worker) tidy(ctx context.Context, s *sighting) {
	for _, list := range s.Of {
		keep := 1
		if len(list) > 0 && list[0].State == docker.Running {
			keep = 2
		}
		for i := keep; i < len(list); i++ {
			if list[i].State == docker.Running {
				continue
			}
			if err := w.a.cfg.Docker.Remove(ctx, list[i].ID); err != nil {
				w.a.cfg.Log.Debug("old container not removed", "container", list[i].Name, "error", err)
			}
		}
	}
}

// renew rereads the sources of projected volumes when something changed there, and from time to time.
func (w *worker) renew(ctx context.Context, pod *v1.Pod, next time.Time) time.Time {
	if w.mounted == nil && !w.released && w.attached != "" { // taken over: volumes are there, and may be out of date
		if err := w.setup(ctx, pod); err != nil {
			w.warn(pod, "", events.FailedMountVolume, err.Error())
		}
		return next
	}
	if w.mounted == nil || w.released || !projects(pod) || time.Since(w.fresh) < sourcesPeriod {
		return next
	}
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	w.fresh = time.Now()
	if err := w.a.volumes.Refresh(ctx, pod); err != nil {
		w.warn(pod, "", events.FailedMountVolume, err.Error())
	}
	return next
}

func projects(pod *v1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil {
			return true
		}
	}
	return false
}
