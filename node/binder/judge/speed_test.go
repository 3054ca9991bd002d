package judge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/orpheus-mesh/orpheus/node/binder"
	"github.com/orpheus-mesh/orpheus/placement"
)

// crowd is 1,000 nodes with 20,000 pods of 2,000 workloads, and 200 more pods of 20 to place; every kind of demand occurs.
func crowd() *scenario {
	m := maker{rand.New(rand.NewPCG(1, 1))}
	s := &scenario{spaces: newScenario(1).spaces}
	for i := range 1000 {
		n := m.node(fmt.Sprintf("n%d", i))
		n.Status.Allocatable["cpu"], n.Status.Allocatable["memory"], n.Status.Allocatable["pods"] = quantity(64, ""), quantity(256, "Gi"), quantity(250, "")
		n.Status.Allocatable["ephemeral-storage"] = quantity(1000, "Gi")
		s.nodes = append(s.nodes, n)
	}
	var alike *corev1.Pod
	for i := range 20200 {
		if i%10 == 0 {
			alike = m.pod("", 6)
			alike.Labels["app"] = draw(m, "web", "db", fmt.Sprint("a", i))
		}
		p := alike.DeepCopy()
		p.Name, p.UID = fmt.Sprintf("p%d", i), types.UID(fmt.Sprintf("p%d", i))
		if i < 20000 {
			p.Spec.NodeName = s.nodes[m.IntN(1000)].Name
			s.run = append(s.run, p)
			continue
		}
		s.wait = append(s.wait, p)
	}
	return s
}

// BenchmarkAgainstUpstream decides on the same pods over the same nodes: upstream's Filter plugins on every node and Score
// plugins on every feasible one, without queue, cache and binding and one after the other; the same with upstream's default
// sampling of nodes; and placement on a State that knows the rest already. Processor time, since the machine may have other work.
func BenchmarkAgainstUpstream(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := crowd()
	u := newUpstream(b, s)
	v := binder.View(binder.Objects{Nodes: s.nodes, Pods: append(slices.Clone(s.run), s.wait...), Namespaces: s.spaces})
	isNew := func(p placement.Pod) bool { return p.Host == "" }
	var fresh placement.Delta
	var gone placement.Delta
	for _, p := range v.Pods {
		if isNew(p) {
			fresh.Pods = append(fresh.Pods, p)
			gone.GonePods = append(gone.GonePods, p.UID)
		}
	}
	state := placement.NewState(placement.Options{})
	state.Apply(placement.Delta{Hosts: v.Hosts, Pods: slices.DeleteFunc(v.Pods, isNew)})
	var theirs, sampled, ours time.Duration
	binds, picks := 0, 0
	for b.Loop() {
		all, placed := u.pickAll(b, s.wait, len(s.nodes))
		theirs, picks = theirs+all, picks+placed
		some, again := u.pickAll(b, s.wait, sample(len(s.nodes)))
		if sampled += some; again != placed {
			b.Fatalf("%d pods have a node, %d when nodes are sampled", placed, again)
		}
		from := spent(b)
		binds += len(state.Apply(fresh).Binds)
		ours += spent(b) - from
		state.Apply(gone)
	}
	n := float64(b.N * len(s.wait))
	b.ReportMetric(float64(theirs.Microseconds())/n, "upstream-µs/pod")
	b.ReportMetric(float64(ours.Microseconds())/n, "placement-µs/pod")
	b.ReportMetric(float64(theirs)/float64(ours), "ratio")
	b.ReportMetric(float64(sampled.Microseconds())/n, "sampled-µs/pod")
	b.ReportMetric(float64(sampled)/float64(ours), "sampled-ratio")
	b.ReportMetric(float64(picks)/n, "upstream-placed")
	b.ReportMetric(float64(binds)/n, "placement-placed")
}

// sample is how many feasible nodes upstream's scheduler looks for by default (numFeasibleNodesToFind in schedule_one.go): 420 of 1,000.
func sample(nodes int) int {
	return min(nodes, max(nodes*max(50-nodes/125, 5)/100, 100))
}

// pickAll decides on pods one after the other, each as soon as so many nodes are feasible for it.
func (u *upstream) pickAll(b *testing.B, pods []*corev1.Pod, most int) (took time.Duration, placed int) {
	from := spent(b)
	for _, p := range pods {
		ok, err := u.pick(b.Context(), p, most)
		if err != nil {
			b.Fatal(err)
		}
		if ok {
			placed++
		}
	}
	return spent(b) - from, placed
}

// pick is one decision: filter until so many nodes are feasible, beginning where the last decision ended, then score and normalize.
func (u *upstream) pick(ctx context.Context, pod *corev1.Pod, most int) (bool, error) {
	nodes, err := u.snapshot.NodeInfos().List()
	if err != nil {
		return false, err
	}
	state, skip := framework.NewCycleState(), sets.New[string]()
	var only *fwk.PreFilterResult
	for _, p := range u.plugins {
		if pre, is := p.(fwk.PreFilterPlugin); is {
			result, status := pre.PreFilter(ctx, state, pod, nodes)
			if status.IsSkip() {
				skip.Insert(p.Name())
			} else if !status.IsSuccess() {
				return false, nil
			}
			only = only.Merge(result)
		}
	}
	var fit []fwk.NodeInfo
	begin := u.next
	for i := 0; i < len(nodes) && len(fit) < most; i++ {
		n := nodes[(begin+i)%len(nodes)]
		u.next = (begin + i + 1) % len(nodes)
		if !only.AllNodes() && !only.NodeNames.Has(n.Node().Name) {
			continue
		}
		status, err := u.filter(ctx, state, skip, pod, n)
		if err != nil {
			return false, err
		}
		if status.IsSuccess() {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return false, nil
	}
	return true, u.score(ctx, state, pod, fit)
}

func (u *upstream) score(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, fit []fwk.NodeInfo) error {
	for _, p := range u.plugins {
		s, is := p.(fwk.ScorePlugin)
		if !is {
			continue
		}
		if pre, is := p.(fwk.PreScorePlugin); is {
			if status := pre.PreScore(ctx, state, pod, fit); status.IsSkip() {
				continue
			} else if !status.IsSuccess() {
				return fmt.Errorf("%s: %w", p.Name(), status.AsError())
			}
		}
		scores := make(fwk.NodeScoreList, len(fit))
		for i, n := range fit {
			score, status := s.Score(ctx, state, pod, n)
			if !status.IsSuccess() {
				return fmt.Errorf("%s: %w", p.Name(), status.AsError())
			}
			scores[i] = fwk.NodeScore{Name: n.Node().Name, Score: score}
		}
		if x := s.ScoreExtensions(); x != nil {
			x.NormalizeScore(ctx, state, pod, scores)
		}
	}
	return nil
}

func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
