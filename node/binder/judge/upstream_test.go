package judge

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/interpodaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodename"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeports"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeunschedulable"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/tainttoleration"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

// upstream are kube-scheduler's Filter plugins over one snapshot, in the order of its default profile.
type upstream struct {
	snapshot *cache.Snapshot
	plugins  []fwk.Plugin
	next     int // node to begin the next decision with
}

type factory struct {
	make frameworkruntime.PluginFactoryWithFts[fwk.Plugin]
	args runtime.Object
}

func factories() []factory {
	cpu := config.ScoringStrategy{Type: config.LeastAllocated, Resources: []config.ResourceSpec{{Name: "cpu", Weight: 1}}}
	return []factory{
		{nodeunschedulable.New, nil}, {nodename.New, nil}, {tainttoleration.New, nil}, {nodeaffinity.New, &config.NodeAffinityArgs{}}, {nodeports.New, nil},
		{noderesources.NewFit, &config.NodeResourcesFitArgs{ScoringStrategy: &cpu}},
		{podtopologyspread.New, &config.PodTopologySpreadArgs{DefaultingType: config.ListDefaulting}},
		{interpodaffinity.New, &config.InterPodAffinityArgs{HardPodAffinityWeight: 1}},
	}
}

func newUpstream(t testing.TB, s *scenario) *upstream {
	t.Helper()
	metrics.Register() // the plugins count without asking whether anybody does; once is enough, more is no harm
	u := &upstream{snapshot: cache.NewSnapshot(s.claims(), s.nodes)}
	f := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	for _, n := range s.spaces {
		if err := f.Core().V1().Namespaces().Informer().GetStore().Add(n); err != nil {
			t.Fatal(err)
		}
	}
	handle, err := frameworkruntime.NewFramework(t.Context(), nil, nil, frameworkruntime.WithSnapshotSharedLister(u.snapshot), frameworkruntime.WithInformerFactory(f))
	if err != nil {
		t.Fatal(err)
	}
	features := feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate)
	for _, x := range factories() {
		p, err := x.make(t.Context(), x.args, handle, features)
		if err != nil {
			t.Fatal(err)
		}
		u.plugins = append(u.plugins, p)
	}
	return u
}

// verdict is what upstream says about one pod: which nodes it may use, and the message when there is none.
type verdict struct {
	fits    map[string]bool
	message string
	by      map[string]int // refusals by plugin
}

// judge does what the scheduler's findNodesThatFitPod does, one plugin and one node after the other.
func (u *upstream) judge(ctx context.Context, pod *corev1.Pod) (verdict, error) {
	v := verdict{fits: map[string]bool{}, by: map[string]int{}}
	nodes, err := u.snapshot.NodeInfos().List()
	if err != nil {
		return v, err
	}
	state, skip := framework.NewCycleState(), sets.New[string]()
	failed := framework.FitError{Pod: pod, NumAllNodes: len(nodes), Diagnosis: framework.Diagnosis{NodeToStatus: framework.NewDefaultNodeToStatus()}}
	var only *fwk.PreFilterResult
	var narrowed []string
	for _, p := range u.plugins {
		pre, is := p.(fwk.PreFilterPlugin)
		if !is {
			continue
		}
		result, status := pre.PreFilter(ctx, state, pod, nodes)
		switch {
		case status.IsSkip():
			skip.Insert(p.Name())
			continue
		case status.IsRejected():
			v.by[p.Name()] += len(nodes)
			failed.Diagnosis.PreFilterMsg = status.Message()
			v.message = failed.Error()
			return v, nil
		case !status.IsSuccess():
			return v, fmt.Errorf("%s: %w", p.Name(), status.AsError())
		}
		if !result.AllNodes() {
			narrowed = append(narrowed, p.Name())
		}
		only = only.Merge(result)
	}
	if !only.AllNodes() {
		failed.Diagnosis.NodeToStatus.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", narrowed)))
	}
	for _, n := range nodes {
		name := n.Node().Name
		if !only.AllNodes() && !only.NodeNames.Has(name) {
			continue
		}
		status, err := u.filter(ctx, state, skip, pod, n)
		switch {
		case err != nil:
			return v, err
		case status.IsSuccess():
			v.fits[name] = true
		default:
			v.by[status.Plugin()]++
			failed.Diagnosis.NodeToStatus.Set(name, status)
		}
	}
	v.message = failed.Error()
	return v, nil
}

func (u *upstream) filter(ctx context.Context, state fwk.CycleState, skip sets.Set[string], pod *corev1.Pod, n fwk.NodeInfo) (*fwk.Status, error) {
	for _, p := range u.plugins {
		f, is := p.(fwk.FilterPlugin)
		if !is || skip.Has(p.Name()) {
			continue
		}
		status := f.Filter(ctx, state, pod, n)
		if status.IsSuccess() {
			continue
		}
		if !status.IsRejected() {
			return nil, fmt.Errorf("%s: %w", p.Name(), status.AsError())
		}
		return status.WithPlugin(p.Name()), nil
	}
	return nil, nil
}
