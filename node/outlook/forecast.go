package outlook

import (
	"context"
	"errors"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/orpheus-mesh/orpheus/node/binder"
	"github.com/orpheus-mesh/orpheus/node/control"
	"github.com/orpheus-mesh/orpheus/placement"
)

// Seer decides as if some pods came and others were gone; the binder does.
type Seer interface {
	Foresee(come []*corev1.Pod, gone map[types.UID]bool) (*binder.Outlook, error)
}

// Forecast tells what would become of pods if the manifests were applied and everything had settled: rollouts finished, what
// is replaced gone. It writes nothing. namespace is that of objects that name none.
func Forecast(ctx context.Context, client kubernetes.Interface, seer Seer, manifests []byte, namespace string) (control.Forecast, error) {
	ms, err := read(manifests, namespace)
	if err != nil {
		return control.Forecast{}, err
	}
	if len(ms) == 0 {
		return control.Forecast{}, errors.New("there is no object in the manifests")
	}
	now, err := look(ctx, client)
	if err != nil {
		return control.Forecast{}, err
	}
	f := &forecast{out: control.Forecast{Fits: true}, admission: admission{world: now, classes: classes(ms)}, gone: map[types.UID]bool{}}
	for _, m := range ms {
		if err := f.take(ctx, m); err != nil {
			return control.Forecast{}, err
		}
	}
	seen, err := seer.Foresee(f.come, f.gone)
	if err != nil {
		return control.Forecast{}, err
	}
	f.tell(seen)
	return f.out, nil
}

// forecast is one on its way.
type forecast struct {
	out       control.Forecast
	admission admission
	loads     []*workload // as in out.Workloads
	come      []*corev1.Pod
	gone      map[types.UID]bool
}

func classes(ms []manifest) map[string]*schedulingv1.PriorityClass {
	out := map[string]*schedulingv1.PriorityClass{}
	for _, m := range ms {
		if c, is := m.object.(*schedulingv1.PriorityClass); is {
			out[c.Name] = c
		}
	}
	return out
}

// take adds one object to what is asked.
func (f *forecast) take(ctx context.Context, m manifest) error {
	if m.object == nil {
		f.out.Notes = append(f.out.Notes, "the API has no kind "+m.kind+": left out")
		return nil
	}
	if c, is := m.object.(*batchv1.CronJob); is {
		f.out.Notes = append(f.out.Notes, fmt.Sprintf("CronJob %s/%s brings pods at its times: left out", c.Namespace, c.Name))
		return nil
	}
	w, err := f.admission.world.workloadOf(ctx, m)
	if err != nil || w == nil {
		return err
	}
	if len(w.comes) > mostPods {
		return fmt.Errorf("%s %s/%s would bring %d pods, more than a forecast takes (%d)", w.kind, w.namespace, w.name, len(w.comes), mostPods)
	}
	told := control.WorkloadForecast{Kind: w.kind, Namespace: w.namespace, Name: w.name}
	switch err := f.admission.admit(ctx, w); {
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
		told.Refused, f.out.Fits = err.Error(), false
		w.comes = nil
	case err != nil:
		return fmt.Errorf("show a pod of %s %s/%s to the API: %w", w.kind, w.namespace, w.name, err)
	}
	for _, c := range w.comes {
		f.come = append(f.come, c.pod)
	}
	for _, p := range w.goes {
		f.gone[p.UID] = true
	}
	f.loads = append(f.loads, w)
	f.out.Workloads = append(f.out.Workloads, told)
	return nil
}

// tell reads the answer.
func (f *forecast) tell(seen *binder.Outlook) {
	pending := map[string]placement.Pending{}
	for _, p := range seen.Plan.Pending {
		pending[p.Pod] = p
	}
	room := map[string]string{} // by pod that others leave for: the node
	for _, p := range seen.Plan.Preemptions {
		room[p.Pod] = p.Host
		for _, v := range p.Victims {
			f.out.Preempted = append(f.out.Preempted, move(seen, v, p.Host, "", p.Pod))
		}
	}
	for _, m := range seen.Plan.Moves {
		f.out.Moved = append(f.out.Moved, move(seen, m.Pod, m.From, m.To, m.For))
	}
	for i, w := range f.loads {
		told := &f.out.Workloads[i]
		for _, p := range w.goes {
			told.Pods = append(told.Pods, control.PodForecast{Name: p.Name, Fate: control.Goes, Node: p.Spec.NodeName, Message: w.why})
		}
		for _, p := range w.stays {
			told.Pods = append(told.Pods, f.judge(seen, pending, room, p, p.Name, control.Stays))
		}
		for _, c := range w.comes {
			told.Pods = append(told.Pods, f.judge(seen, pending, room, c.pod, c.name, control.Comes))
		}
	}
}

// judge tells one pod's fate; want is that of a pod that gets a node or has one.
func (f *forecast) judge(seen *binder.Outlook, pending map[string]placement.Pending, room map[string]string, p *corev1.Pod, name string, want control.Fate) control.PodForecast {
	out := control.PodForecast{Name: name, Fate: want}
	uid := string(p.UID)
	if after, known := seen.Pod(uid); known {
		out.Node = after.Host
	} else {
		out.Node = p.Spec.NodeName
	}
	switch node, preempts := room[uid]; {
	case preempts:
		out.Fate, out.Node = control.Preempts, node
	case out.Node != "":
	case len(p.Spec.SchedulingGates) > 0:
		out.Fate, out.Message = control.Gated, "scheduling gates hold it: "+gates(p)
	default:
		out.Fate, out.Message, f.out.Fits = control.Misfit, "it would be nobody's to place", false
		if why, is := pending[uid]; is {
			e := seen.Explain(p.UID)
			out.Message, out.Remedies = binder.Message(why), remedies(slices.Clip(e.Remedies[:min(len(e.Remedies), 3)]))
		}
	}
	return out
}

func move(seen *binder.Outlook, uid, from, to, room string) control.PodMove {
	out := control.PodMove{Pod: uid, From: from, To: to}
	if p, known := seen.Pod(uid); known {
		out.Namespace, out.Pod = p.Namespace, p.Name
	}
	if p, known := seen.Pod(room); known {
		out.For = p.Namespace + "/" + p.Name
	}
	return out
}
