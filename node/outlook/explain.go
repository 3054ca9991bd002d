package outlook

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/orpheus-mesh/orpheus/node/binder"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/placement"
)

// Explain puts an explanation of a pod into words.
func Explain(pod *corev1.Pod, home control.Home, e placement.Explanation) control.Explanation {
	out := control.Explanation{
		Namespace: pod.Namespace, Pod: pod.Name, Home: home, Node: e.Host, Bound: e.Claimed, Waits: waits(pod, e), Nodes: e.Hosts, Fits: e.Fits,
		Remedies: remedies(e.Remedies),
	}
	for _, c := range e.Candidates {
		n := control.Candidate{Node: c.Host, Score: c.Score, Last: c.Last}
		for _, p := range c.Parts {
			n.Parts = append(n.Parts, control.Part{Name: p.Name, Score: p.Score})
		}
		out.Candidates = append(out.Candidates, n)
	}
	for _, r := range e.Refusals {
		n := control.Refusal{Node: r.Host}
		for _, reason := range r.Reasons {
			n.Reasons = append(n.Reasons, binder.Reason(reason))
		}
		out.Refusals = append(out.Refusals, n)
	}
	if e.Fits == 0 && e.Known {
		out.Message = binder.Message(e.Pending)
	}
	return out
}

// Room puts into words what preemption would do for a pod.
func Room(pod *corev1.Pod, r binder.Room) *control.Room {
	out := &control.Room{Node: r.Host, Priority: r.Priority}
	own, policy := int32(0), corev1.PreemptLowerPriority
	if p := pod.Spec.Priority; p != nil {
		own = *p
	}
	if p := pod.Spec.PreemptionPolicy; p != nil {
		policy = *p
	}
	out.Enough = own >= r.Priority && policy != corev1.PreemptNever
	for _, v := range r.Victims {
		out.Leave = append(out.Leave, v.Namespace+"/"+v.Name)
	}
	return out
}

// waits says why nobody decides on a pod, although it may fit somewhere.
func waits(pod *corev1.Pod, e placement.Explanation) string {
	over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case over:
		return fmt.Sprintf("it has ended (%s) and takes no node", pod.Status.Phase)
	case len(pod.Spec.SchedulingGates) > 0 && pod.Spec.NodeName == "":
		return "scheduling gates hold it: " + gates(pod)
	case pod.Spec.NodeName == "" && pod.Spec.SchedulerName != "" && pod.Spec.SchedulerName != corev1.DefaultSchedulerName:
		return "it asks for another scheduler, " + pod.Spec.SchedulerName
	case pod.Status.NominatedNodeName != "" && e.Host == "" && e.Waits == "":
		return "others of lower priority are leaving " + pod.Status.NominatedNodeName + " for it"
	case !e.Known:
		return "this server does not know it yet"
	}
	return e.Waits
}

func gates(pod *corev1.Pod) string {
	var names []string
	for _, g := range pod.Spec.SchedulingGates {
		names = append(names, g.Name)
	}
	return strings.Join(names, ", ")
}

func remedies(in []placement.Remedy) (out []control.Remedy) {
	for _, r := range in {
		n := control.Remedy{Node: r.Host}
		for _, c := range r.Changes {
			n.Changes = append(n.Changes, change(c))
		}
		out = append(out, n)
	}
	return out
}

// change says what would have to be otherwise, as something to do.
func change(c placement.Change) string {
	switch c.Kind {
	case placement.Ready:
		return "the node becomes ready: " + strings.TrimPrefix(binder.Reason(c.What), "node(s) had ")
	case placement.Uncordon:
		return "uncordon the node"
	case placement.Tolerate:
		return "tolerate the taint " + c.What
	case placement.Affinity:
		return "match the node by selector and affinity"
	case placement.Port:
		return "free the host port " + c.What
	case placement.Resource:
		return quantity(c.What, c.Amount)
	case placement.Volume:
		return "have its volumes there"
	case placement.SpreadEven:
		return "let the spread over " + c.What + " be less even"
	case placement.SpreadLabel:
		return "label the node with " + c.What
	case placement.Company:
		return "have a pod that it must be near to in the same " + c.What
	case placement.Apart:
		return "have no pod that it must be apart from in the same " + c.What
	case placement.KeptApart:
		return "have no pod that must be apart from it in the same " + c.What
	}
	return c.Kind.String() + " " + c.What
}

func quantity(name string, amount int64) string {
	switch name {
	case "cpu":
		return resource.NewMilliQuantity(amount, resource.DecimalSI).String() + " more cpu"
	case "memory", "ephemeral-storage":
		return resource.NewQuantity(amount, resource.BinarySI).String() + " more " + name
	case "pods":
		return fmt.Sprintf("room for %d more pod(s)", amount)
	}
	return fmt.Sprintf("%d more %s", amount, name)
}
