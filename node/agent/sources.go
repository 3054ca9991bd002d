package agent

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// sources wakes pods when a ConfigMap or Secret that they use changes. It watches each of them by name and keeps none of
// their contents: a watch is only a bell, whoever is woken reads anew.
type sources struct {
	api  kubernetes.Interface
	ring func(types.UID)
	todo chan struct{} // a watch is missing

	mu   sync.Mutex // guards the two below
	want map[source]map[types.UID]bool
	runs map[source]context.CancelFunc
}

type source struct {
	secret          bool
	namespace, name string
}

const (
	watchRetryMin = time.Second
	watchRetryMax = 30 * time.Second
)

func newSources(api kubernetes.Interface, ring func(types.UID)) *sources {
	return &sources{api: api, ring: ring, todo: make(chan struct{}, 1), want: map[source]map[types.UID]bool{}, runs: map[source]context.CancelFunc{}}
}

// Want watches what a pod uses, until Forget.
func (s *sources) Want(pod *v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(k source) bool {
		if s.want[k] == nil {
			s.want[k] = map[types.UID]bool{}
		}
		s.want[k][pod.UID] = true
		return true
	}
	podutil.VisitPodConfigmapNames(pod, func(name string) bool { return add(source{false, pod.Namespace, name}) })
	podutil.VisitPodSecretNames(pod, func(name string) bool { return add(source{true, pod.Namespace, name}) })
	s.wake()
}

// Forget ends what only this pod wanted.
func (s *sources) Forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, users := range s.want {
		delete(users, uid)
		if len(users) == 0 {
			delete(s.want, k)
		}
	}
	s.wake()
}

func (s *sources) wake() {
	select {
	case s.todo <- struct{}{}:
	default:
	}
}

// Run keeps one watch for each wanted source.
func (s *sources) Run(ctx context.Context) error {
	var watches sync.WaitGroup
	defer watches.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.todo:
		}
		s.mu.Lock()
		for k := range s.want {
			if s.runs[k] == nil {
				one, cancel := context.WithCancel(ctx)
				s.runs[k] = cancel
				watches.Go(func() { s.follow(one, k) })
			}
		}
		for k, cancel := range s.runs {
			if s.want[k] == nil {
				cancel()
				delete(s.runs, k)
			}
		}
		s.mu.Unlock()
	}
}

func (s *sources) follow(ctx context.Context, k source) {
	pause := watchRetryMin
	for ctx.Err() == nil {
		w, err := s.watch(ctx, k)
		if err == nil {
			pause = watchRetryMin
			s.listen(ctx, w, k)
		}
		after(ctx, pause)
		pause = min(2*pause, watchRetryMax)
	}
}

func (s *sources) listen(ctx context.Context, w watch.Interface, k source) {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.ResultChan():
			if !ok {
				return
			}
			s.ringAll(k)
		}
	}
}

func (s *sources) watch(ctx context.Context, k source) (watch.Interface, error) {
	o := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, k.name).String()}
	if k.secret {
		return s.api.CoreV1().Secrets(k.namespace).Watch(ctx, o)
	}
	return s.api.CoreV1().ConfigMaps(k.namespace).Watch(ctx, o)
}

func (s *sources) ringAll(k source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid := range s.want[k] {
		s.ring(uid)
	}
}

// wakeForSource lets the pod reread its sources and try again what failed for want of them.
func (a *Agent) wakeForSource(uid types.UID) {
	a.mu.Lock()
	w := a.workers[uid]
	a.mu.Unlock()
	if w == nil {
		return
	}
	w.stale.Store(true)
	w.poke()
}
