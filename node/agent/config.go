package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/orpheus-mesh/orpheus/node/docker"
)

// Engine is what the agent asks of a Docker Engine; *docker.Engine is the real one. Every call is bounded in time.
type Engine interface {
	Info(ctx context.Context) (docker.Info, error)
	Ping(ctx context.Context) error
	List(ctx context.Context, known map[string]docker.Container, labels ...string) ([]docker.Container, error)
	Inspect(ctx context.Context, id string) (docker.Container, error)
	Create(ctx context.Context, s docker.Spec) (string, error)
	Start(ctx context.Context, id string) error
	Signal(ctx context.Context, id, signal string) error
	Wait(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	Events(ctx context.Context, each func(docker.Event), lost func())
	Exec(ctx context.Context, id string, cmd []string, s docker.Streams) (int, error)
	Logs(ctx context.Context, id string, o docker.LogOptions, out, errs io.Writer) error
	Image(ctx context.Context, ref string) (docker.Image, error)
	Images(ctx context.Context) ([]docker.Image, error)
	EnsurePause(ctx context.Context) (string, error)
}

// Attachment is a pod's place in the network.
type Attachment struct {
	PodUID string
	PID    int // of a process in the pod's network namespace
	Addr   netip.Addr
	Ports  []v1.ContainerPort // those with a host port
}

// Network gives pods addresses and joins them to the network. All calls are idempotent and may come from any goroutine.
type Network interface {
	Assign(podUID string) (netip.Addr, error)   // the same address for the same pod
	Adopt(podUID string, addr netip.Addr) error // what a former life of the daemon assigned
	Release(podUID string)                      // its address may go to others
	Attach(ctx context.Context, a Attachment) error
	Detach(ctx context.Context, podUID string) error
}

// Images makes images present. auth is a registry's X-Registry-Auth or "". Concurrent calls for one image should share work.
type Images interface {
	Ensure(ctx context.Context, ref string, policy v1.PullPolicy, auth string) (imageID string, err error)
	// Known changes when the image that ref means came to this host or became known in the mesh; "" while neither. It is cheap.
	Known(ctx context.Context, ref string) string
}

// Config is all that an agent needs to know. Fields are required unless they say otherwise.
type Config struct {
	Client *rest.Config         // how to reach the API; or
	API    kubernetes.Interface // a ready client, which goes first
	Docker Engine
	Net    Network
	Images Images

	NodeName      string
	Addr          netip.Addr        // of this host
	Region, Zone  string            // may be empty
	Labels        map[string]string // more labels for the node; may be nil
	Dir           string            // absolute; pods' files and local volumes
	ClusterDNS    netip.Addr        // default 169.254.1.1
	ClusterDomain string            // default cluster.local
	StreamPort    int32             // default 10250
	MaxPods       int64             // default 110
	Reserved      v1.ResourceList   // kept from pods; may be nil
	Version       string            // shown as the kubelet's

	// MayForget tells that this node's replica has caught up with its peers: containers whose pods it does not know may be
	// stopped. nil means always.
	MayForget func() bool
	// Rebuilt tells that the replica lost what it knew: that it lacks a pod proves nothing then, only Dead does. nil: never.
	Rebuilt func() bool
	// Dead tells that the object of that UID was deleted for certain. nil means that nobody knows.
	Dead func(types.UID) bool
	Log  *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	var errs []error
	need := func(ok bool, field string) {
		if !ok {
			errs = append(errs, fmt.Errorf("agent: %s is missing", field))
		}
	}
	need(c.API != nil || c.Client != nil, "Client")
	need(c.Docker != nil, "Docker")
	need(c.Net != nil, "Net")
	need(c.Images != nil, "Images")
	need(c.NodeName != "", "NodeName")
	need(c.Addr.IsValid(), "Addr")
	need(c.Dir != "", "Dir")
	need(c.Log != nil, "Log")
	if !c.ClusterDNS.IsValid() {
		c.ClusterDNS = netip.AddrFrom4([4]byte{169, 254, 1, 1})
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if c.StreamPort == 0 {
		c.StreamPort = 10250
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.MayForget == nil {
		c.MayForget = func() bool { return true }
	}
	if c.API == nil && c.Client != nil {
		api, err := kubernetes.NewForConfig(c.Client)
		if err != nil {
			errs = append(errs, fmt.Errorf("agent: client of the API: %w", err))
		}
		c.API = api
	}
	return c, errors.Join(errs...)
}
