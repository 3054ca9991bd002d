package agent

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/node/agent/probes"
	"github.com/orpheus-mesh/orpheus/node/agent/volumes"
	"github.com/orpheus-mesh/orpheus/node/docker"
)

const (
	engineRetry = time.Second
	rounds      = 8  // looks and acts at once; a pod that needs more is woken again
	inboxSize   = 64 // results of what runs beside the worker
)

// worker looks after one pod. Its goroutine owns every field but wished and gone; what runs beside it (pulls, stops, hooks)
// hands results back through the inbox.
//
//	wake, inbox, timer ─► look ─► decide ─► act ─┐
//	                       ▲───────── acted ─────┘──► publish
type worker struct {
	a    *Agent
	uid  types.UID
	wake chan struct{} // one place: a wake that is not taken yet covers later ones

	mu      sync.Mutex // guards the four below
	wished  *v1.Pod
	gone    bool            // the API has no such pod
	doubts  map[string]bool // containers whose state may have changed since it was asked for; "": all
	starved map[string]bool // containers that ran out of memory, by the engine's events

	stale    atomic.Bool // a source of the pod's files or variables changed
	inbox    chan func() // run by the worker's goroutine
	beside   sync.WaitGroup
	known    map[string]docker.Container
	attached string // the sandbox that was joined to the network in this life
	addr     netip.Addr
	mounted  volumes.Mounted // nil until volumes were set up in this life
	fresh    time.Time       // when projected volumes were last renewed
	pulls    map[string]pull
	troubles map[string]trouble
	hooks    map[string]bool
	stops    map[string]*stopping
	again    map[string]bool
	watches  map[string]*probes.Watch
	told     *v1.PodStatus // the status that was decided last
	released bool          // sandbox, address and volumes were given back
	admitted bool
	erased   bool // the API was told to forget the pod
	burying  bool // its end has begun
	public   *publisher
}

func newWorker(a *Agent, pod *v1.Pod) *worker {
	return &worker{a: a, uid: pod.UID, wake: make(chan struct{}, 1), inbox: make(chan func(), inboxSize), doubts: map[string]bool{}, starved: map[string]bool{},
		pulls: map[string]pull{}, troubles: map[string]trouble{}, hooks: map[string]bool{}, stops: map[string]*stopping{},
		again: map[string]bool{}, watches: map[string]*probes.Watch{}, public: newPublisher(a.cfg.API, a.cfg.Log)}
}

// wish tells what the pod shall be. It may be called from any goroutine.
func (w *worker) wish(pod *v1.Pod, gone bool) {
	w.mu.Lock()
	if !gone || w.wished == nil {
		w.wished = pod
	}
	w.gone = gone
	w.mu.Unlock()
	w.poke()
}

// doubt says that a container's remembered state is not to be trusted ("": no container's), and wakes the worker. Engines
// tell of a container's end before their lists show it; only asking for the container itself waits for the truth.
func (w *worker) doubt(id string) {
	w.mu.Lock()
	w.doubts[id] = true
	w.mu.Unlock()
	w.poke()
}

// starve says that a container ran out of memory. An engine that hears of that after the container's end tells it as an event, and
// never in the container's state.
func (w *worker) starve(id string) {
	w.mu.Lock()
	w.starved[id] = true
	w.mu.Unlock()
	w.doubt(id)
}

// ended puts what events told into the states of containers that were killed, and forgets what is told of others.
func (w *worker) ended(all []docker.Container) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.starved) == 0 {
		return
	}
	there := map[string]bool{}
	for i := range all {
		c := &all[i]
		there[c.ID] = true
		c.OOMKilled = c.OOMKilled || w.starved[c.ID] && c.ExitCode == bySIGKILL
	}
	maps.DeleteFunc(w.starved, func(id string, _ bool) bool { return !there[id] })
}

// trusted is what may be taken for known when the engine is asked next.
func (w *worker) trusted() map[string]docker.Container {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.doubts {
		if id == "" {
			clear(w.known)
		}
		delete(w.known, id)
	}
	clear(w.doubts)
	return w.known
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) wanted() (pod *v1.Pod, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wished, w.gone
}

// tell hands a result to the worker; after its end nobody needs it.
func (w *worker) tell(ctx context.Context, f func()) {
	select {
	case w.inbox <- f:
	case <-ctx.Done():
	}
}

// run works until the pod has gone for good or ctx ends; containers keep running in the latter case.
func (w *worker) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for _, p := range w.watches {
			p.Stop()
		}
		w.a.sources.Forget(w.uid)
		w.beside.Wait()
	}()
	w.beside.Go(func() { w.public.run(ctx) })
	timer := time.NewTimer(relist)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-w.inbox:
			f()
		case <-w.wake:
		case <-timer.C:
		}
		w.drain()
		if w.stale.Swap(false) {
			w.retryNow()
		}
		done, next := w.sync(ctx)
		if done {
			return
		}
		timer.Reset(max(min(time.Until(next), relist), 0))
	}
}

func (w *worker) drain() {
	for {
		select {
		case f := <-w.inbox:
			f()
		default:
			return
		}
	}
}

// sync brings the pod as near to its wish as can be done now, and says when to try again at the latest.
func (w *worker) sync(ctx context.Context) (done bool, next time.Time) {
	next = time.Now().Add(relist)
	for range rounds {
		pod, gone := w.wanted()
		if gone && w.erased {
			return true, next
		}
		if w.burying && !gone && pod.DeletionTimestamp == nil {
			return true, next // it is wanted again: another worker begins anew, this one has given half of it back
		}
		if gone && !w.mayForget() {
			return false, time.Now().Add(engineRetry)
		}
		s, err := w.look(ctx, pod)
		if err != nil {
			return false, time.Now().Add(engineRetry)
		}
		if gone || pod.DeletionTimestamp != nil {
			return w.bury(ctx, s, gone)
		}
		if !w.admit(s) {
			return false, next
		}
		p := decide(s)
		acted := w.act(ctx, s, p)
		if !p.Wake.IsZero() && p.Wake.Before(next) {
			next = p.Wake
		}
		if !acted {
			w.publish(s, p, false)
			w.tidy(ctx, s)
			return false, w.renew(ctx, s.Pod, next)
		}
		if p.Sandbox {
			w.publish(s, p, false) // the first word about the pod goes out while it starts
		}
	}
	return false, time.Now()
}

// mayForget tells that the pod's absence from the API is proof enough to end what runs of it.
func (w *worker) mayForget() bool {
	c := &w.a.cfg
	if !c.MayForget() {
		return false
	}
	return c.Rebuilt == nil || !c.Rebuilt() || c.Dead != nil && c.Dead(w.uid)
}

// look gathers the picture: what the engine has of the pod, and what this worker remembers.
func (w *worker) look(ctx context.Context, pod *v1.Pod) (*sighting, error) {
	all, err := w.a.cfg.Docker.List(ctx, w.trusted(), labelUID+"="+string(w.uid))
	if err != nil {
		return nil, err
	}
	w.ended(all)
	w.appeared(ctx, pod)
	pod = pod.DeepCopy()
	if w.told != nil {
		pod.Status = mergeForeign(*w.told.DeepCopy(), &pod.Status)
	}
	s := &sighting{Now: time.Now(), Pod: pod, Of: map[string][]instance{}, Probes: map[string]probes.Standing{}, Hooks: w.hooks,
		Stopping: map[string]bool{}, Again: w.again, Pulls: w.pulls, Troubles: w.troubles}
	w.known = make(map[string]docker.Container, len(all))
	var sandboxes []instance
	for _, c := range all {
		w.known[c.ID] = c
		i := instanceOf(c)
		switch {
		case i.Of == "":
			sandboxes = append(sandboxes, i)
		case c.State == docker.Created && !c.Dead():
			// Made and not started by a former life: Create replaces it.
		default:
			s.Of[i.Of] = append(s.Of[i.Of], i)
		}
	}
	newestFirst(sandboxes)
	if len(sandboxes) > 0 {
		s.Sandbox = &sandboxes[0]
		s.Attached = s.Sandbox.State == docker.Running && (pod.Spec.HostNetwork || w.attached == s.Sandbox.ID)
		if w.addr = s.Sandbox.address(); !s.sandboxRuns() {
			w.attached = ""
		}
	}
	for _, list := range s.Of {
		newestFirst(list)
	}
	for id := range w.stops {
		s.Stopping[id] = true
	}
	w.observe(ctx, s)
	return s, nil
}

// observe keeps one probe watch for each running container that wants one.
func (w *worker) observe(ctx context.Context, s *sighting) {
	running := map[string]bool{}
	for _, i := range s.running() {
		running[i.ID] = true
		if watch, ok := w.watches[i.ID]; ok {
			s.Probes[i.ID] = watch.Standing()
		} else if c := containerOf(s.Pod, i.Of); c != nil && probes.Wanted(c) && !w.hooks[i.ID] && !s.Stopping[i.ID] {
			s.Probes[i.ID] = w.probe(ctx, s, c, i)
		}
	}
	for id, watch := range w.watches {
		if !running[id] || s.Stopping[id] {
			watch.Stop()
			delete(w.watches, id)
		}
	}
	for _, memory := range []map[string]bool{w.hooks, w.again} {
		for id := range memory {
			if _, there := w.known[id]; !there {
				delete(memory, id)
			}
		}
	}
}

// retryNow forgets how long to wait: what was missing may be there now.
func (w *worker) retryNow() {
	w.fresh = time.Time{}
	for name, t := range w.troubles {
		t.Retry = time.Time{}
		w.troubles[name] = t
	}
}
