package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// runPods takes over what runs, follows the API's pods of this host and gives each a worker.
func (a *Agent) runPods(ctx context.Context) error {
	left, err := a.takeOver(ctx)
	if err != nil {
		return nil // ctx ended while the engine was away
	}
	var workers, others sync.WaitGroup
	defer workers.Wait()
	defer others.Wait()
	factory := informers.NewSharedInformerFactoryWithOptions(a.cfg.API, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", a.cfg.NodeName).String()
	}))
	pods := factory.Core().V1().Pods().Informer()
	handler, err := pods.AddEventHandler(a.handler(ctx, &workers))
	if err != nil {
		return fmt.Errorf("follow pods: %w", err)
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		return nil
	}
	a.synced.Store(true)
	close(a.ready)
	a.strays(ctx, &workers, pods.GetStore(), left)
	others.Go(func() { a.cfg.Docker.Events(ctx, a.onEvent, a.wakeAll) })
	a.beat(ctx, &workers, pods.GetStore())
	return nil
}

// beat makes every worker look again from time to time, and looks for pods that have none: those of the API, and strays, which
// have left containers or directories here.
func (a *Agent) beat(ctx context.Context, workers *sync.WaitGroup, store cache.Store) {
	tick := time.NewTicker(relist)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.wakeAll()
		known, err := a.leftovers(ctx)
		if err != nil {
			continue // the engine is away; its return wakes everybody
		}
		a.strays(ctx, workers, store, known)
	}
}

// strays gives those of the pods found here that the API does not know a worker that ends them, and those of the API one that runs
// them, should one have none. What is found may be half made, and not know its own name yet: only the UID counts.
func (a *Agent) strays(ctx context.Context, workers *sync.WaitGroup, store cache.Store, found []*v1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ours := map[types.UID]bool{}
	for _, o := range store.List() {
		pod, ok := o.(*v1.Pod)
		if !ok || pod.Spec.NodeName != a.cfg.NodeName {
			continue
		}
		ours[pod.UID] = true
		if a.workers[pod.UID] == nil {
			a.assign(ctx, workers, pod, false)
		}
	}
	for _, pod := range found {
		if !ours[pod.UID] {
			a.assign(ctx, workers, pod, true)
		}
	}
}

func (a *Agent) handler(ctx context.Context, workers *sync.WaitGroup) cache.ResourceEventHandler {
	seen := func(o any) {
		if pod, ok := o.(*v1.Pod); ok && pod.Spec.NodeName == a.cfg.NodeName {
			a.work(ctx, workers, pod, false)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, o any) { seen(o) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			if pod, ok := o.(*v1.Pod); ok && pod.Spec.NodeName == a.cfg.NodeName {
				a.work(ctx, workers, pod, true)
			}
		},
	}
}

// work tells the pod's worker what is wished, and makes a worker where there is none. gone: the API has no such pod.
func (a *Agent) work(ctx context.Context, workers *sync.WaitGroup, pod *v1.Pod, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.assign(ctx, workers, pod, gone)
}

// assign is work with a.mu held.
func (a *Agent) assign(ctx context.Context, workers *sync.WaitGroup, pod *v1.Pod, gone bool) {
	w, ok := a.workers[pod.UID]
	if !ok {
		w = newWorker(a, pod)
		a.workers[pod.UID] = w
		if !gone && pod.Status.StartTime != nil && !podutil.IsPodTerminal(pod) {
			a.ledger.book(pod) // it has its place already, before anybody new
		}
		workers.Go(func() {
			w.run(ctx)
			a.retire(ctx, workers, w)
		})
	}
	w.wish(pod, gone)
}

// retire forgets a worker that has ended. A pod that came back meanwhile (an edit undid its deletion) gets another.
func (a *Agent) retire(ctx context.Context, workers *sync.WaitGroup, w *worker) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.workers, w.uid)
	if pod, gone := w.wanted(); !gone && ctx.Err() == nil {
		a.assign(ctx, workers, pod, false)
	}
}

// takeOver reserves the addresses of the pods that run before anybody else may get them, waiting for the engine as long as
// it takes, and gives what is known of these pods.
func (a *Agent) takeOver(ctx context.Context) ([]*v1.Pod, error) {
	for {
		all, err := a.cfg.Docker.List(ctx, nil)
		if err == nil {
			a.adopt(all)
			return a.leftovers(ctx)
		}
		a.cfg.Log.Warn("engine not reachable, pods wait", "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// adopt keeps the addresses of the sandboxes that run.
func (a *Agent) adopt(all []docker.Container) {
	for _, c := range all {
		i := instanceOf(c)
		if addr := i.address(); addr.IsValid() && i.Of == "" {
			if err := a.cfg.Net.Adopt(c.Labels[labelUID], addr); err != nil {
				a.cfg.Log.Warn("address of a running pod not adopted", "pod", c.Labels[labelNamespace]+"/"+c.Labels[labelPod], "address", addr, "error", err)
			}
		}
	}
}

// leftovers lists the pods that have a container on the engine or a directory on the disk, as far as these tell.
func (a *Agent) leftovers(ctx context.Context) ([]*v1.Pod, error) {
	all, err := a.cfg.Docker.List(ctx, nil)
	if err != nil {
		return nil, err
	}
	found := map[types.UID]*v1.Pod{}
	for _, c := range all {
		uid := types.UID(c.Labels[labelUID])
		if found[uid] == nil {
			found[uid] = a.remembered(uid, c.Labels)
		}
	}
	onDisk, err := a.volumes.Pods()
	if err != nil {
		return nil, err
	}
	var out []*v1.Pod
	for _, uid := range onDisk {
		if found[uid] == nil {
			found[uid] = a.remembered(uid, nil)
		}
	}
	for _, pod := range found {
		out = append(out, pod)
	}
	return out, nil
}

const manifest = "pod.json"

// remember writes a pod down beside its volumes, so that it can be stopped as it asked even when the API knows it no more.
func (a *Agent) remember(pod *v1.Pod) error {
	text, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("write pod down: %w", err)
	}
	dir := a.podDir(pod.UID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("write pod down: %w", err)
	}
	file := filepath.Join(dir, manifest)
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return fmt.Errorf("write pod down: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil { // whoever reads finds all of it
		return fmt.Errorf("write pod down: %w", err)
	}
	return nil
}

// remembered is a pod as it was written down, or else what its containers' labels tell.
func (a *Agent) remembered(uid types.UID, labels map[string]string) *v1.Pod {
	pod := &v1.Pod{}
	text, err := os.ReadFile(filepath.Join(a.podDir(uid), manifest))
	if err == nil && json.Unmarshal(text, pod) == nil && pod.UID == uid {
		return pod
	}
	pod = &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, Namespace: labels[labelNamespace], Name: labels[labelPod]}}
	pod.Spec.NodeName = a.cfg.NodeName
	if grace, err := strconv.ParseInt(labels[labelGrace], 10, 64); err == nil {
		pod.Spec.TerminationGracePeriodSeconds = &grace
	}
	return pod
}
