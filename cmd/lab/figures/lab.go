package figures

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/orpheus-mesh/orpheus/cmd/lab/load"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
	"github.com/orpheus-mesh/orpheus/cmd/lab/stories"
	"github.com/orpheus-mesh/orpheus/node/control"
)

// Lab is where figures are taken. Its methods are for one caller at a time.
type Lab struct {
	M     *mesh.Mesh
	Stage *stories.Stage
	Say   func(format string, args ...any) // progress, a line a call
	Hosts []string                         // set by Raise

	mu      sync.Mutex // guards configs
	configs map[string]*rest.Config
}

// New makes a Lab of a mesh; it starts nothing.
func New(m *mesh.Mesh, say func(format string, args ...any)) *Lab {
	return &Lab{M: m, Stage: &stories.Stage{M: m, Say: say}, Say: say, configs: map[string]*rest.Config{}}
}

// figure starts a result; what it returns closes it.
func (l *Lab) figure(name string) (r *Result, done func()) {
	r = &Result{Figure: name, Started: time.Now().UTC(), Hosts: slices.Clone(l.Hosts)}
	l.Say("%s, on %d hosts", name, len(l.Hosts))
	return r, func() { r.Took = load.Duration(time.Since(r.Started)) }
}

const patience = 3 // runs in a row that may fail before a figure is given up

// repeat takes n runs. One that fails is told; what it left broken is the run's own to mend.
func (l *Lab) repeat(ctx context.Context, r *Result, n int, run func(i int) error) error {
	failed := 0
	for i := range n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.Say("run %d of %d", i+1, n)
		err := run(i)
		if err == nil {
			failed = 0
			continue
		}
		failed++
		l.Say("  not measured: %v", err)
		r.Unmeasured = append(r.Unmeasured, fmt.Sprintf("run %d: %v", i+1, err))
		if failed == patience {
			return fmt.Errorf("%s: %d runs in a row failed, the last: %w", r.Figure, failed, err)
		}
	}
	return ctx.Err()
}

// mend runs what puts the lab right again, also after ctx has ended, for at most two minutes.
func mend(ctx context.Context, err *error, what string, do func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if e := do(ctx); e != nil {
		*err = errors.Join(*err, fmt.Errorf("%s: %w", what, e))
	}
}

// config is the way to a host's API from outside, as a person who may do everything. It is fetched once: it outlives the daemon.
func (l *Lab) config(ctx context.Context, host string) (*rest.Config, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.configs[host]; c != nil {
		return c, nil
	}
	c, err := l.M.REST(ctx, host)
	if err == nil {
		c.WarningHandler = rest.NoWarnings{} // every kind is asked for, the deprecated ones too
		l.configs[host] = c
	}
	return c, err
}

func (l *Lab) client(ctx context.Context, host string) (*kubernetes.Clientset, error) {
	c, err := l.config(ctx, host)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(c)
}

// forget drops what is known of a host's API: the next host of that name is another.
func (l *Lab) forget(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.configs, host)
}

// control talks to a host's daemon on its socket, which costs no process: polling with the binary would weigh on what is measured.
func (l *Lab) control(host string) (*control.Client, error) {
	run, err := l.M.Bed.Path(host, "orpheus-run")
	if err != nil {
		return nil, err
	}
	return control.Dial(filepath.Join(run, "orpheus.sock")), nil
}

// daemonReady waits until a host's daemon says that it is ready.
func (l *Lab) daemonReady(ctx context.Context, host string, limit time.Duration) error {
	c, err := l.control(host)
	if err != nil {
		return err
	}
	return until(ctx, limit, 10*time.Millisecond, "orpheus on "+host+" ready", func(ctx context.Context) error {
		s, err := c.Status(ctx)
		if err == nil && !s.Ready {
			err = errors.New("it is still starting")
		}
		return err
	})
}

// until asks at every step until check is content; one question may take 5 s. What it complained of last is in the error.
func until(ctx context.Context, limit, step time.Duration, what string, check func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(step)
	defer tick.Stop()
	var last error
	for {
		err := bounded(ctx, check)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // the end of the wait itself says nothing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, last)
		case <-tick.C:
		}
	}
}

func bounded(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return do(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// turned is the hosts beginning with another one each run, so that ties do not always fall on the same.
func turned(hosts []string, i int) []string {
	i %= max(1, len(hosts))
	return slices.Concat(hosts[i:], hosts[:i])
}
