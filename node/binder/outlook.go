package binder

import (
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/placement"
)

// options are those of every decision, so that what is foretold is what will be decided.
func (b *Binder) options() placement.Options {
	return placement.Options{Preempt: b.config.Preempt != nil && b.config.Preempt()}
}

// ErrNotReady says that the watches have not listed yet: whatever is said now would be wrong.
var ErrNotReady = errors.New("this server does not know all pods and nodes yet: ask again in a moment")

// Outlook is what would be decided if things were otherwise.
type Outlook struct {
	Plan    placement.Plan
	after   placement.View // the Plan carried out
	options placement.Options
}

// Explain says where a pod is or would go, and why, by what this server sees at this moment. Safe for concurrent use.
func (b *Binder) Explain(pod *corev1.Pod) (placement.Explanation, error) {
	if _, _, ok := b.picture.queue(b.config.Mine); !ok {
		return placement.Explanation{}, ErrNotReady
	}
	return placement.Explain(b.picture.view(b.about([]*corev1.Pod{pod})), string(pod.UID), b.options()), nil
}

// Foresee decides as if the pods in come were there and those in gone were not. Nothing is written. All pods that wait
// now, whoever is their home, are decided on along with them. Safe for concurrent use.
func (b *Binder) Foresee(come []*corev1.Pod, gone map[types.UID]bool) (*Outlook, error) {
	waiting, _, ok := b.picture.queue(func(string, string, string) bool { return true })
	if !ok {
		return nil, ErrNotReady
	}
	q := b.about(append(waiting, come...))
	q.gone = gone
	o := Decide(b.picture.view(q), b.options())
	if b.config.Rebalance != placement.Off {
		settledBy := time.Now().Add(settleAge) // it is a forecast of the end: who is too young to move now will not be
		o.makeWay(b.picture.movable(settledBy, settledBy))
	}
	return o, nil
}

// makeWay foretells which pods that run go to other hosts for pods that fit nowhere. One goes for each: it is as in the making
// of way where that is gentle.
func (o *Outlook) makeWay(movable map[string]mover) {
	preempts := map[string]bool{}
	for _, p := range o.Plan.Preemptions {
		preempts[p.Pod] = true
	}
	if len(o.Plan.Pending) == len(preempts) {
		return
	}
	view := o.after
	view.Pods = slices.Clone(view.Pods)
	settled(view, movable)
	plan := placement.Place(view, placement.Options{Moves: gentleMoves})
	goes := map[string]string{} // where pods would be
	for _, m := range plan.Moves {
		if preempts[m.For] {
			return // it has its room already, and all else was decided after it
		}
		goes[m.Pod] = m.To
	}
	for _, b := range plan.Binds {
		goes[b.Pod] = b.Host
	}
	o.Plan.Moves = plan.Moves
	o.Plan.Binds = append(o.Plan.Binds, plan.Binds...)
	o.Plan.Pending = slices.DeleteFunc(o.Plan.Pending, func(p placement.Pending) bool { return goes[p.Pod] != "" })
	for i := range o.after.Pods {
		if host := goes[o.after.Pods[i].UID]; host != "" {
			o.after.Pods[i].Host = host
		}
	}
}

// Decide makes the decision that the binder would make of a View.
func Decide(v placement.View, options placement.Options) *Outlook {
	state := placement.NewState(options)
	plan := state.Apply(placement.Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: v.Budgets})
	return &Outlook{Plan: plan, after: state.View(), options: options}
}

// Explain tells why a pod of the outlook is where it would be, everything else being where it would be.
func (o *Outlook) Explain(uid types.UID) placement.Explanation {
	return placement.Explain(o.after, string(uid), o.options)
}

// about asks for a batch by what the binder knows.
func (b *Binder) about(batch []*corev1.Pod) question {
	q := question{batch: batch, flights: b.flights.hosts(), flapping: b.config.Flapping(), volumes: b.config.Volumes}
	q.promised, q.leaving = b.promises.standing(time.Now())
	return q
}

// Objects are what decisions depend on, as the API shows them.
type Objects struct {
	Nodes      []*corev1.Node
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Budgets    []*policyv1.PodDisruptionBudget
}

// View translates objects as the binder does for its decisions: claims, and the pods that wait for a host.
func View(o Objects) placement.View {
	p := newPicture(func() {})
	for _, n := range o.Namespaces {
		p.setSpace(n.Name, n.Labels)
	}
	for _, b := range o.Budgets {
		p.setBudget(b)
	}
	for _, n := range o.Nodes {
		p.setNode(n)
	}
	var batch []*corev1.Pod
	for _, x := range o.Pods {
		if x = x.DeepCopy(); waiting(x) {
			batch = append(batch, x)
		}
		p.setPod(x)
	}
	return p.view(question{batch: batch})
}

// Pod tells which pod of the outlook has the UID, and where it would be.
func (o *Outlook) Pod(uid string) (p placement.Pod, found bool) {
	i, found := slices.BinarySearchFunc(o.after.Pods, uid, func(p placement.Pod, uid string) int { return strings.Compare(p.UID, uid) })
	if found {
		p = o.after.Pods[i]
	}
	return p, found
}
