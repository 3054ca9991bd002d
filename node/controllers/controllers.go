package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/klog/v2"
)

// Controllers runs the roster of one node.
type Controllers struct {
	config Config
	roster []controller
	dial   func(*rest.Config) (kubernetes.Interface, error)
	ready  chan struct{}
}

// New checks the configuration and starts nothing. As a side effect a panic in one of upstream's goroutines is logged
// and that goroutine goes on, process-wide, as in every Kubernetes component that sets ReallyCrash to false.
func New(c Config) (*Controllers, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	utilruntime.ReallyCrash = false
	dial := func(r *rest.Config) (kubernetes.Interface, error) { return kubernetes.NewForConfig(r) }
	return &Controllers{config: c, roster: roster(), dial: dial, ready: make(chan struct{})}, nil
}

// Ready is closed when every informer has its first picture.
func (c *Controllers) Ready() <-chan struct{} { return c.ready }

// Run makes all controllers, fails if one cannot be made, and runs them until ctx ends. One that returns or panics before
// is made anew, after a back-off of 1 s to 1 min.
func (c *Controllers) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// What upstream logs for a person is, to Orpheus's reader, detail.
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(c.config.Log.Handler()).V(1))
	reader, err := c.dial(c.config.Client)
	if err != nil {
		return fmt.Errorf("controllers: make a client: %w", err)
	}
	s := newScene(c.config, reader)
	objects, err := metadata.NewForConfig(c.config.Client)
	if err != nil {
		return fmt.Errorf("controllers: make a metadata client: %w", err)
	}
	started := make(chan struct{})
	base := stage{scene: s, config: c.config, started: started, objects: newMetadataFactory(objects),
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(reader.Discovery()))}
	if err := s.watchOwners(); err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	cast, err := c.cast(ctx, base)
	if err != nil {
		return err
	}
	for _, f := range s.factories() {
		f.Start(ctx.Done())
		defer f.Shutdown()
	}
	base.objects.Start(ctx.Done())
	defer base.objects.Shutdown()
	close(started)
	for _, a := range cast {
		group.Go(func() error { c.supervise(ctx, a); return nil })
	}
	group.Go(func() error { c.follow(ctx, s); return nil })
	group.Go(func() error { c.awaitReady(ctx, s); return nil })
	return group.Wait()
}

// cast makes every controller of the roster for the first time.
func (c *Controllers) cast(ctx context.Context, base stage) ([]actor, error) {
	var all []actor
	for _, entry := range c.roster {
		st, err := c.stage(entry.name, base)
		if err != nil {
			return nil, fmt.Errorf("controllers: make a client for %s: %w", entry.name, err)
		}
		a := actor{controller: entry, stage: st}
		if err := a.begin(ctx); err != nil {
			return nil, fmt.Errorf("controllers: make %s: %w", entry.name, err)
		}
		all = append(all, a)
	}
	return all, nil
}

// stage gives a controller its own identity and the guarded way to the API.
func (c *Controllers) stage(name string, base stage) (*stage, error) {
	r := rest.CopyConfig(c.config.Client)
	r.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:kube-system:" + name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
	}
	r.UserAgent = "orpheus/" + name
	r.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &guard{next: next, who: name, config: c.config, altered: base.altered}
	})
	client, err := c.dial(r)
	if err != nil {
		return nil, err
	}
	base.rest, base.client = r, client
	return &base, nil
}

// pokes are the pauses after which all primary objects are shown once more when a hold ended, besides the first time. What was
// refused meanwhile would wait for the end of upstream's back-off, which a few dozen events during the hold drive to minutes;
// and a controller that takes what it is shown for stale, because a write of its own overtook it, goes on waiting.
var pokes = [...]time.Duration{time.Second, 5 * time.Second}

// follow passes every change of the mesh on to the views, and pokes all primary objects when destruction is allowed again.
func (c *Controllers) follow(ctx context.Context, s *scene) {
	calm, _ := c.config.calm()
	recheck, next := stopped(), stopped()
	defer recheck.Stop()
	defer next.Stop()
	var owed []time.Duration // pokes since the hold ended
	for {
		changed, poke := false, false
		select {
		case <-ctx.Done():
			return
		case _, open := <-c.config.Changed:
			if !open {
				return
			}
			changed = true
		case <-recheck.C:
		case <-next.C:
			poke = true
		}
		now, why := c.config.calm()
		if now != calm {
			c.config.Log.Info("destructive decisions", "allowed", now, "reason", why)
			owed, poke = pokes[:], true
		}
		if calm = now; !now { // nobody is bound to wake us when a hold runs out
			owed, poke = nil, false
			next.Stop()
			recheck.Reset(time.Second)
		}
		if poke && len(owed) > 0 {
			next.Reset(owed[0])
			owed = owed[1:]
		}
		if changed || poke {
			s.refresh(wake{poke: poke})
		}
	}
}

func stopped() *time.Timer {
	t := time.NewTimer(0)
	t.Stop()
	return t
}

func (c *Controllers) awaitReady(ctx context.Context, s *scene) {
	for _, f := range s.factories() {
		for _, ok := range f.WaitForCacheSync(ctx.Done()) {
			if !ok {
				return
			}
		}
	}
	close(c.ready)
}

// actor is a controller with its present life, which ends with its context.
type actor struct {
	controller
	stage *stage
	ctx   context.Context
	end   func() error // of this life; frees what it holds
	run   func(context.Context)
}

func (a *actor) begin(ctx context.Context) error {
	life, cancel := context.WithCancel(ctx)
	held := &lease{}
	a.ctx, a.end = life, func() error { cancel(); return held.end() }
	own := *a.stage
	own.scene, own.objects = held.scene(a.stage.scene), a.stage.objects.leased(held)
	if err := contain(func() (err error) { a.run, err = a.make(a.ctx, &own); return err }); err != nil {
		return errors.Join(err, a.end())
	}
	return nil
}

func (c *Controllers) supervise(ctx context.Context, a actor) {
	pause := time.Second
	for {
		begun := time.Now()
		err := contain(func() error { a.run(a.ctx); return nil })
		err = errors.Join(err, a.end())
		if time.Since(begun) > 5*time.Minute {
			pause = time.Second
		}
		for again := true; again; again = err != nil {
			if ctx.Err() != nil {
				return
			}
			c.config.Log.Error("controller ended, it is made anew", "controller", a.name, "in", pause, "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Minute)
			err = a.begin(ctx)
		}
		for _, f := range a.stage.factories() {
			f.Start(ctx.Done())
		}
	}
}

// contain turns a panic into an error with its stack.
func contain(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
