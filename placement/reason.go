package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The words of kube-scheduler v1.36 (pkg/scheduler/framework/plugins), so that tools that read its events read ours.
const (
	reasonCordoned = "node(s) were unschedulable"
	reasonTaint    = "node(s) had untolerated taint(s)"
	reasonAffinity = "node(s) didn't match Pod's node affinity/selector"
	reasonPorts    = "node(s) didn't have free ports for the requested pod ports"
	reasonPods     = "Too many pods"
	reasonLack     = "Insufficient "
	reasonVolume   = "node(s) didn't match PersistentVolume's node affinity"
	reasonSpread   = "node(s) didn't match pod topology spread constraints"
	missingLabel   = " (missing required label)"
	reasonNear     = "node(s) didn't match pod affinity rules"
	reasonApart    = "node(s) didn't match pod anti-affinity rules"
	reasonExisting = "node(s) didn't satisfy existing pods anti-affinity rules"
)

// Reasons that kube-scheduler does not know.
const (
	reasonNotReady = "node(s) were not ready: "
	reasonInvalid  = "the pod cannot be placed: "
)

// String is kube-scheduler's message of a FailedScheduling event.
func (p Pending) String() string {
	if p.Hosts == 0 && len(p.Reasons) == 0 {
		return "no nodes available to schedule pods"
	}
	var texts []string
	for _, r := range p.Reasons {
		if r.Hosts == 0 {
			return r.Text
		}
		texts = append(texts, fmt.Sprintf("%d %s", r.Hosts, r.Text))
	}
	slices.Sort(texts)
	return fmt.Sprintf("0/%d nodes are available: %s.", p.Hosts, strings.Join(texts, ", "))
}

// explain asks every host once more, in kube-scheduler's order of plugins, and counts what they say.
func (w *world) explain(s *shape) Pending {
	counts := map[string]int{}
	var texts []string
	for h := range w.hosts {
		for _, why := range w.refusals(s, int32(h)) {
			if counts[why] == 0 {
				texts = append(texts, why)
			}
			counts[why]++
		}
	}
	p := Pending{Hosts: len(w.hosts)}
	for _, t := range texts {
		p.Reasons = append(p.Reasons, Reason{t, counts[t]})
	}
	slices.SortFunc(p.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Hosts, a.Hosts), cmp.Compare(a.Text, b.Text))
	})
	return p
}

// refusals is the first cause why host h cannot take the shape, or all the resources that it lacks.
func (w *world) refusals(s *shape, h int32) []string {
	if why := w.refusesNode(s.static, h); why != "" {
		return []string{why}
	}
	if !w.open(s, h) {
		return []string{reasonPorts}
	}
	if lacks := w.lacks(s, h); lacks != nil {
		return lacks
	}
	if !w.holds(s.static, h) {
		return []string{reasonVolume}
	}
	if why := w.refusesTopology(s, h); why != "" {
		return []string{why}
	}
	return nil
}

func (w *world) lacks(s *shape, h int32) (out []string) {
	f := &w.free[h]
	if s.pods > f.pods {
		out = append(out, reasonPods)
	}
	if s.cpu > 0 && s.cpu > f.cpu {
		out = append(out, reasonLack+"cpu")
	}
	if s.memory > 0 && s.memory > f.memory {
		out = append(out, reasonLack+"memory")
	}
	if s.disk > 0 && s.disk > f.disk {
		out = append(out, reasonLack+"ephemeral-storage")
	}
	for _, e := range s.extended {
		if e.value > 0 && e.value > w.extra[e.index][h] {
			out = append(out, reasonLack+e.name)
		}
	}
	return out
}
