package controllers

import (
	"errors"
	"log/slog"

	"k8s.io/client-go/rest"
)

// HostState is what this node believes of another host, derived from its own view of the mesh and never stored.
type HostState uint8

const (
	Alive   HostState = iota // reachable, or never heard of
	Suspect                  // has not answered lately: nothing is moved for it
	Failed                   // declared dead by the failure detector: its replicas may be replaced
)

// String names the state.
func (s HostState) String() string {
	return [...]string{"alive", "suspect", "failed"}[min(s, Failed)]
}

// Config is what the controllers need of the node. All functions are called often and from many goroutines at once: they
// must be cheap, must not block and must not call back.
type Config struct {
	// Client reaches the API of this node as a user that may do and impersonate everything, without a rate limit.
	Client *rest.Config
	// Mine tells whether this node is home of an object, by the object's own name: kind as in "apps/deployments", "core/pods".
	// The root owner is the callee's to find. It is asked for objects that are already gone, too.
	Mine func(kind, namespace, name string) bool
	// Changed wakes after any change of what Mine, Settled, Hold, Slow or HostState answer. A lost wake is not made good.
	Changed <-chan struct{}
	// Settled tells whether this node has reconciled its replica with the members it regained. While it has not, its
	// controllers delete nothing.
	Settled func() bool
	// Hold tells whether destructive decisions wait because most of the mesh vanished at once, and why.
	Hold func() (bool, string)
	// Slow tells that this node is probably the slow one. It gives up no other host's pods then. It still may delete: what
	// its own objects have too many of is no judgement about others, and a node may be slow for long.
	Slow func() bool
	// HostState says how the host of a Node object, by its name, is seen from here.
	HostState func(node string) HostState
	// Member tells whether any server of the mesh has, or had, this name, and whether the last one was evicted for good.
	Member func(node string) (known, evicted bool)
	// RootCA is the PEM bundle that every namespace gets as kube-root-ca.crt.
	RootCA []byte
	Log    *slog.Logger
}

func (c Config) validate() error {
	switch {
	case c.Client == nil:
		return errors.New("controllers: Client is missing")
	case c.Mine == nil || c.Settled == nil || c.Hold == nil || c.Slow == nil || c.HostState == nil || c.Member == nil:
		return errors.New("controllers: Mine, Settled, Hold, Slow, HostState and Member are all needed")
	case c.Changed == nil:
		return errors.New("controllers: Changed is missing; without it no node would take over from a lost one")
	case len(c.RootCA) == 0:
		return errors.New("controllers: RootCA is empty")
	case c.Log == nil:
		return errors.New("controllers: Log is missing")
	}
	return nil
}

// calm reports whether something may be destroyed now, else the reason why not.
func (c Config) calm() (ok bool, reason string) {
	if hold, why := c.Hold(); hold {
		return false, "destructive decisions are held: " + why
	}
	if !c.Settled() {
		return false, "this node has not yet reconciled with the members it regained"
	}
	return true, ""
}

// doubt tells whether this node should not believe now that other hosts are dead.
func (c Config) doubt() bool {
	held, _ := c.Hold()
	return held || c.Slow()
}
