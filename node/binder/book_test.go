package binder

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"

	"github.com/orpheus-mesh/orpheus/placement"
)

// history is a picture to which everything happens that can, in random order.
type history struct {
	*picture
	t        *rapid.T
	flights  *flights
	promises *promises
	flapping map[string]time.Time
	now      time.Time
	n        int
}

func (h *history) pick(what string, n int) int { return rapid.IntRange(0, n-1).Draw(h.t, what) }

func (h *history) someHost() string { return fmt.Sprint("n", h.pick("host", 6)) }

// some is a pod that is there; nil: none.
func (h *history) some(name string, of func(*entry) bool) *entry {
	var all []string
	for k, e := range h.pods {
		if of(e) {
			all = append(all, k)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return h.pods[all[h.pick(name, len(all))]]
}

func (h *history) build(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	h.n++
	p := pod(name, fmt.Sprint(1+h.pick("cpu", 3)), change...)
	p.UID = types.UID(fmt.Sprint("uid-", name, "-", h.n))
	p.Labels = map[string]string{"app": fmt.Sprint("a", h.pick("app", 3))}
	prio(int32(h.pick("priority", 3)))(p)
	if h.pick("nominated", 4) == 0 { // by another home
		p.Status.NominatedNodeName = h.someHost()
	}
	switch h.pick("wish", 6) {
	case 0:
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}}}}}
	case 1:
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}
	case 2:
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "set", UID: "set", Controller: yes()}}
	}
	return p
}

func (h *history) host(name string) {
	h.setNode(node(name, fmt.Sprint(2+h.pick("size", 6)), func(n *corev1.Node) {
		n.Labels = map[string]string{"kubernetes.io/hostname": name, "zone": fmt.Sprint("z", h.pick("zone", 3))}
		n.Spec.Unschedulable = h.pick("cordon", 5) == 0
	}))
}

// happen is one thing that may happen between two decisions.
func (h *history) happen() {
	waits := func(e *entry) bool { return e.pod.Host == "" && !e.done }
	switch h.pick("what", 14) {
	case 0, 1, 2:
		h.setPod(h.build(fmt.Sprint("p", h.pick("name", 30))))
	case 3, 12, 13:
		h.setPod(h.build(fmt.Sprint("p", h.pick("name", 30)), on(h.someHost())))
	case 4:
		if e := h.some("gone", func(*entry) bool { return true }); e != nil {
			h.dropPod(e.pod.Namespace + "/" + e.pod.Name)
		}
	case 5: // a binding takes off, lands or fails
		if e := h.some("flies", waits); e != nil && e.whole != nil {
			h.flights.start(e.whole, h.someHost())
		}
	case 6:
		if e := h.some("lands", waits); e != nil && e.whole != nil {
			if where := h.flights.hosts()[e.whole.UID]; where != "" {
				h.flights.drop(e.whole.UID)
				p := e.whole.DeepCopy()
				p.Spec.NodeName = where
				h.setPod(p)
			}
		}
	case 7:
		h.host(h.someHost())
	case 8:
		h.dropNode(h.someHost())
	case 9:
		h.setBudget(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("b", h.pick("budget", 2))},
			Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint("a", h.pick("app", 3))}}},
			Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: int32(h.pick("allowed", 2))}})
		if h.pick("drop", 3) == 0 {
			h.dropBudget("shop/b0")
		}
	case 10:
		h.setSpace("shop", map[string]string{"team": []string{"a", "b"}[h.pick("team", 2)]})
	case 11:
		h.flapping = map[string]time.Time{}
		if h.pick("flaps", 2) == 0 {
			h.flapping[h.someHost()] = h.now.Add(time.Minute)
		}
	}
}

// Whatever happens between decisions, each is the one that the whole view leads to.
func TestWhatChangedLeadsWhereTheWholeViewLeads(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{picture: newPicture(func() {}), t: rt, flights: newFlights(), promises: newPromises(), now: time.Now()}
		b := &book{audit: func(v placement.View, o placement.Options, plan placement.Plan) {
			if got, want := fmt.Sprintf("%+v", plan), fmt.Sprintf("%+v", placement.Place(v, o)); got != want {
				rt.Fatalf("decided by what changed:\n%s\nby the whole view:\n%s", got, want)
			}
		}}
		for i := range 4 {
			h.host(fmt.Sprint("n", i))
		}
		h.setSpace("shop", map[string]string{"team": "a"})
		h.synced = [4]bool{true, true, true, true}
		for range rapid.IntRange(1, 12).Draw(rt, "decisions") {
			for range rapid.IntRange(0, 6).Draw(rt, "between") {
				h.happen()
			}
			h.now = h.now.Add(time.Duration(h.pick("seconds", 20)) * time.Second)
			foreign := fmt.Sprint(h.pick("foreign", 20)) // last digit of the names of pods of other homes
			queue, _, _ := h.queue(func(_, _, name string) bool { return !strings.HasSuffix(name, foreign) })
			batch := slices.DeleteFunc(queue, func(p *corev1.Pod) bool { return h.flights.has(p.UID) })
			order(batch)
			q := question{batch: batch[:min(len(batch), 4)], flights: h.flights.hosts(), flapping: maps.Clone(h.flapping)}
			q.promised, q.leaving = h.promises.standing(h.now)
			if len(h.byUID) != len(h.pods) {
				rt.Fatalf("%d pods, %d UIDs", len(h.pods), len(h.byUID))
			}
			plan := b.decide(h.picture, q, placement.Options{Preempt: h.pick("preempt", 4) > 0})
			for _, x := range plan.Preemptions {
				at := slices.IndexFunc(batch, func(p *corev1.Pod) bool { return string(p.UID) == x.Pod })
				if at >= 0 && h.pick("promise", 2) > 0 {
					h.promises.give(preemption{pod: batch[at], host: x.Host, victims: h.names(x.Victims)}, h.now)
				}
			}
			for _, x := range plan.Binds {
				at := slices.IndexFunc(q.batch, func(p *corev1.Pod) bool { return string(p.UID) == x.Pod })
				if at >= 0 && h.pick("fly", 3) > 0 {
					h.flights.start(q.batch[at], x.Host)
				}
			}
		}
	})
}

// BenchmarkThousandPods is the loop's own work while 1,000 pods come one after the other to 30 hosts, on which as many run: two
// rounds a pod, one that decides and one after it was bound.
func BenchmarkThousandPods(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		binder, err := New(Config{Client: &rest.Config{}, Changed: make(chan struct{}), Admit: (&stand{}).admit, Log: slog.New(slog.DiscardHandler),
			Mine: func(_, _, _ string) bool { return true }, Preempt: func() bool { return true }})
		if err != nil {
			b.Fatal(err)
		}
		p := binder.picture
		p.synced = [4]bool{true, true, true, true}
		for i := range 30 {
			p.setNode(node(fmt.Sprintf("n%02d", i), "200"))
		}
		for i := range 1000 {
			p.setPod(pod(fmt.Sprintf("old%d", i), "1", on(fmt.Sprintf("n%02d", i%30))))
		}
		b.StartTimer()
		before := processorTime()
		for i := range 1000 {
			p.setPod(pod(fmt.Sprintf("p%d", i), "1"))
			binder.round(time.Now())
			j := <-binder.jobs
			p.setPod(pod(j.pod.Name, "1", on(j.hosts[0])))
			binder.finish(result{pod: j.pod, bound: true})
			binder.round(time.Now())
		}
		b.ReportMetric(float64((processorTime()-before).Microseconds())/1000, "cpu-µs/pod")
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
