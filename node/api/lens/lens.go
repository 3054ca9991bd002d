// Package lens shows pods and nodes as they are to be read at this moment: what runs on a host that is out of sight is not
// ready, whatever the host said last. Nothing of it is ever stored; when the host is back, its own words show again, with
// their times.
package lens

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/orpheus-mesh/orpheus/gossip"
)

// Reasons that the lens puts into conditions.
const (
	NodeLost    = "NodeLost"    // the host is dead as far as this side of the mesh can tell
	NodeSuspect = "NodeSuspect" // the host has not answered lately
)

// Liveness is what this node believes of a host, by its Kubernetes name. A host that nobody knows is taken for alive.
type Liveness interface {
	Host(node string) (state gossip.State, since time.Time)
}

// Lens implements replica.Lens.
type Lens struct{ Live Liveness }

// View returns obj, or a copy with other conditions. obj is an internal *core.Pod or *core.Node; others pass.
func (l Lens) View(_ string, obj runtime.Object) runtime.Object {
	switch o := obj.(type) {
	case *core.Pod:
		return l.pod(o)
	case *core.Node:
		return l.node(o)
	}
	return obj
}

func (l Lens) pod(p *core.Pod) runtime.Object {
	if p.Spec.NodeName == "" || p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed {
		return p
	}
	state, since := l.Live.Host(p.Spec.NodeName)
	reason, message := doubt(p.Spec.NodeName, state)
	if reason == "" {
		return p
	}
	shown := *p
	shown.Status.Conditions = slices.Clone(p.Status.Conditions)
	for i := range shown.Status.Conditions {
		c := &shown.Status.Conditions[i]
		if c.Type != core.PodReady && c.Type != core.ContainersReady {
			continue
		}
		if c.Status == core.ConditionTrue {
			c.LastTransitionTime = later(c.LastTransitionTime, since)
		}
		c.Status, c.Reason, c.Message = core.ConditionFalse, reason, message
	}
	return &shown
}

func (l Lens) node(n *core.Node) runtime.Object {
	state, since := l.Live.Host(n.Name)
	reason, message := doubt(n.Name, state)
	if reason != NodeLost {
		return n
	}
	shown := *n
	shown.Status.Conditions = slices.Clone(n.Status.Conditions)
	for i := range shown.Status.Conditions {
		c := &shown.Status.Conditions[i]
		if c.Type == core.NodeReady {
			c.Status, c.Reason, c.Message = core.ConditionUnknown, reason, message
			c.LastTransitionTime = later(c.LastTransitionTime, since)
			return &shown
		}
	}
	shown.Status.Conditions = append(shown.Status.Conditions, core.NodeCondition{Type: core.NodeReady, Status: core.ConditionUnknown,
		Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(since)})
	return &shown
}

// doubt says why a host's word is not believed; "" where it is.
func doubt(node string, state gossip.State) (reason, message string) {
	switch state {
	case gossip.Suspect:
		return NodeSuspect, fmt.Sprintf("node %s has not answered lately: it gets no new traffic until it does", node)
	case gossip.Failed, gossip.Left:
		return NodeLost, fmt.Sprintf("node %s is out of sight (%s) from here: the state shown is the last that it reported", node, state)
	}
	return "", ""
}

func later(own metav1.Time, since time.Time) metav1.Time {
	if since.After(own.Time) {
		return metav1.NewTime(since)
	}
	return own
}

// Restore implements replica.Lens: conditions that View put in and that a client sent back go back to what is stored.
func (l Lens) Restore(_ string, stored, written runtime.Object) {
	switch w := written.(type) {
	case *core.Pod:
		if s, ok := stored.(*core.Pod); ok {
			w.Status.Conditions = restore(s.Status.Conditions, w.Status.Conditions, podCondition)
		}
	case *core.Node:
		if s, ok := stored.(*core.Node); ok {
			w.Status.Conditions = restore(s.Status.Conditions, w.Status.Conditions, nodeCondition)
		}
	}
}

func podCondition(c core.PodCondition) (kind, reason string)   { return string(c.Type), c.Reason }
func nodeCondition(c core.NodeCondition) (kind, reason string) { return string(c.Type), c.Reason }

func restore[C any](stored, written []C, describe func(C) (kind, reason string)) []C {
	var out []C
	for i, c := range written {
		kind, reason := describe(c)
		if reason != NodeLost && reason != NodeSuspect {
			continue
		}
		at := slices.IndexFunc(stored, func(s C) bool { k, _ := describe(s); return k == kind })
		if at < 0 {
			continue
		}
		if out == nil {
			out = slices.Clone(written)
		}
		out[i] = stored[at]
	}
	if out == nil {
		return written
	}
	return out
}
