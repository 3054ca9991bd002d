package agent

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/orpheus-mesh/orpheus/node/agent/probes"
	"github.com/orpheus-mesh/orpheus/node/agent/volumes"
	"github.com/orpheus-mesh/orpheus/node/docker"
)

const (
	relist        = 30 * time.Second // every worker looks again at least so often
	reclaim       = time.Minute
	startsAtOnce  = 4 // engines get slower, not faster, by more
	sourcesPeriod = time.Minute
)

// Agent runs the pods of one host.
type Agent struct {
	cfg     Config
	volumes *volumes.Manager
	ask     probes.Asker
	http    *http.Client
	events  record.EventRecorder
	starts  chan struct{}
	sources *sources
	ledger  *ledger
	host    *host
	ready   chan struct{}
	synced  atomic.Bool // the API's pods are known

	mu      sync.Mutex // guards workers and pause
	workers map[types.UID]*worker
	pause   string // image ID
}

// New checks the configuration and starts nothing.
func New(cfg Config) (*Agent, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, ask: probes.NewChecker(cfg.Docker), starts: make(chan struct{}, startsAtOnce), ready: make(chan struct{}),
		workers: map[types.UID]*worker{}, http: hookClient()}
	a.host = newHost(cfg)
	a.ledger = newLedger()
	a.sources = newSources(cfg.API, a.wakeForSource)
	a.volumes = volumes.New(volumes.Config{Dir: cfg.Dir, Node: cfg.NodeName, Client: cfg.API, Allocatable: a.host.allocatable,
		Dead: cfg.Dead, Log: cfg.Log})
	return a, nil
}

// Ready is closed when the engine's containers were taken over and the API's pods are known.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run runs pods until ctx ends. Pods keep running then.
func (a *Agent) Run(ctx context.Context) error {
	news := record.NewBroadcaster(record.WithContext(ctx))
	news.StartRecordingToSink(&typedv1.EventSinkImpl{Interface: a.cfg.API.CoreV1().Events("")})
	defer news.Shutdown()
	a.events = news.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: a.cfg.NodeName})

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.runNode(ctx) })
	g.Go(func() error { return a.sources.Run(ctx) })
	g.Go(func() error { return a.runPods(ctx) })
	g.Go(func() error { return a.runReclaim(ctx) })
	g.Go(func() error { return a.runEvictions(ctx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return nil
}

// runReclaim frees local volumes whose claims were deleted.
func (a *Agent) runReclaim(ctx context.Context) error {
	tick := time.NewTicker(reclaim)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !a.synced.Load() || !a.cfg.MayForget() {
			continue
		}
		call, cancel := context.WithTimeout(ctx, reclaim)
		if err := a.volumes.Reclaim(call); err != nil {
			a.cfg.Log.Warn("volumes not reclaimed", "error", err)
		}
		cancel()
	}
}

// pauseImage is the ID of the sandbox image, made at its first use on this engine.
func (a *Agent) pauseImage(ctx context.Context) (string, error) {
	a.mu.Lock()
	id := a.pause
	a.mu.Unlock()
	if id != "" {
		return id, nil
	}
	id, err := a.cfg.Docker.EnsurePause(ctx)
	if err != nil {
		return "", fmt.Errorf("sandbox image: %w", err)
	}
	a.mu.Lock()
	a.pause = id
	a.mu.Unlock()
	return id, nil
}

func (a *Agent) forgetPauseImage() {
	a.mu.Lock()
	a.pause = ""
	a.mu.Unlock()
}

func (a *Agent) wakeAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		w.doubt("")
	}
}

func (a *Agent) onEvent(e docker.Event) {
	a.mu.Lock()
	w := a.workers[types.UID(e.PodUID)]
	a.mu.Unlock()
	switch {
	case w == nil:
	case e.Action == "oom":
		w.starve(e.Container)
	default:
		w.doubt(e.Container)
	}
}

// podDir holds what belongs to a pod beside its volumes.
func (a *Agent) podDir(uid types.UID) string { return filepath.Join(a.volumes.PodDir(uid), "host") }
