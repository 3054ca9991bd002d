package binder

import (
	"context"
	"errors"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/orpheus-mesh/orpheus/placement"
)

// Config is what the binder needs of the node.
type Config struct {
	// Client reaches the API of this node, without a rate limit.
	Client *rest.Config
	// Mine tells whether this node is home of an object, by its own name ("core/pods"). Cheap, does not block.
	Mine func(kind, namespace, name string) bool
	// Changed wakes after any change of what Mine answers.
	Changed <-chan struct{}
	// Admit asks the host of a Node object, by its name, whether it takes the pod now, and to reserve what the pod needs
	// until the Binding arrives. ok false comes with the host's reason; err means that nobody answered. It must end with
	// its context, which lasts 5 s, and is called by up to 16 goroutines at once.
	Admit func(ctx context.Context, node string, pod *corev1.Pod) (ok bool, reason string, err error)
	// Volumes tells the names of the hosts that can mount all volumes of a pod: nil for any host, empty for none. Optional;
	// cheap, does not block.
	Volumes func(pod *corev1.Pod) []string
	// Lacks says in kube-scheduler's words what a pod must have before any host is looked at, "" for nothing. Optional; it must
	// be quick.
	Lacks func(pod *corev1.Pod) string
	// VolumesChanged wakes after any change of what Volumes and Lacks answer. Optional.
	VolumesChanged <-chan struct{}
	// Preempt tells whether pods of lower priority may be told to leave at this moment: not while this server is unsure of
	// what it sees. Optional: nil is never. Cheap, does not block.
	Preempt func() bool
	// Flapping are the hosts that come and go, with the times until when: they get only pods that no other host can take.
	// Optional; cheap, does not block.
	Flapping func() map[string]time.Time
	// Rebalance says how eagerly running pods move to hosts that joined.
	Rebalance placement.Rebalance
	// Steady tells whether they may at this moment: nobody is missed, and this server is sure of what it sees. Optional: nil is
	// never. Cheap, does not block.
	Steady func() bool
	Log    *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Client == nil:
		return errors.New("binder: Client is missing")
	case c.Mine == nil || c.Admit == nil || c.Changed == nil:
		return errors.New("binder: Mine, Changed and Admit are all needed")
	case c.Log == nil:
		return errors.New("binder: Log is missing")
	}
	if c.Flapping == nil {
		c.Flapping = func() map[string]time.Time { return nil }
	}
	return nil
}
