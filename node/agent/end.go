package agent

import (
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// done tells that nothing of the pod will run again: an init container failed for good, or every regular container ended
// and stays ended.
func (p *plan) done(s *sighting) bool {
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		last := s.newest(c.Name)
		if podutil.IsRestartableInitContainer(c) || s.initialized() || last == nil || !last.Dead() {
			continue
		}
		if (last.ExitCode != 0 || last.Error != "") && !restarts(s, c, last) {
			return true
		}
	}
	for i := range s.Pod.Spec.Containers {
		c := &s.Pod.Spec.Containers[i]
		last := s.newest(c.Name)
		if last == nil || !last.Dead() || restarts(s, c, last) {
			return false
		}
	}
	return true
}

// end stops everything; regular containers first, then the sidecars that served them, then nothing is left to do.
func (p *plan) end(s *sighting, why string) {
	left := 0
	for i := range s.Pod.Spec.Containers {
		left += p.stopAll(s, s.Pod.Spec.Containers[i].Name, why)
	}
	for i := range s.Pod.Spec.InitContainers {
		if c := &s.Pod.Spec.InitContainers[i]; !podutil.IsRestartableInitContainer(c) {
			left += p.stopAll(s, c.Name, why)
		}
	}
	for i := range s.Pod.Spec.EphemeralContainers {
		left += p.stopAll(s, s.Pod.Spec.EphemeralContainers[i].Name, why)
	}
	if left > 0 {
		return
	}
	p.endSidecarsThenFinish(s)
}

// endSidecarsThenFinish stops sidecars one by one, the last one first.
func (p *plan) endSidecarsThenFinish(s *sighting) {
	for i := len(s.Pod.Spec.InitContainers) - 1; i >= 0; i-- {
		if p.stopAll(s, s.Pod.Spec.InitContainers[i].Name, "sidecar is needed no more") > 0 {
			return
		}
	}
	p.Finish = true
}

// stopAll stops what runs of one container and tells how many that are.
func (p *plan) stopAll(s *sighting, name, why string) (running int) {
	for _, i := range s.Of[name] {
		if i.State == "running" {
			running++
			p.stop(s, i, why, false)
		}
	}
	return running
}
