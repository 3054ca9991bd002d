package docker

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/moby/moby/client"
)

// Bounds of the calls to the engine. A hanging engine costs a caller no more than these.
const (
	callTimeout  = 10 * time.Second
	startTimeout = 60 * time.Second
	dialTimeout  = 3 * time.Second
)

// DefaultHost is where an engine listens when nobody says otherwise.
const DefaultHost = "unix:///var/run/docker.sock"

// Engine is one Docker Engine.
type Engine struct {
	c        *client.Client
	oomFloor int
}

// New makes the edge to the engine at host ("unix:///…" or "tcp://…"; "" means DefaultHost). It connects at the first
// call, so that an engine that is down now may come up later.
func New(host string) (*Engine, error) {
	if host == "" {
		host = DefaultHost
	}
	opts := []client.Opt{client.WithHost(host)}
	if u, err := url.Parse(host); err == nil && u.Scheme == "unix" {
		dial := net.Dialer{Timeout: dialTimeout}
		opts = append(opts, client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial.DialContext(ctx, "unix", u.Path)
		}))
	}
	c, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("engine at %s: %w", host, err)
	}
	return &Engine{c: c, oomFloor: oomFloor()}, nil
}

// Client is the engine's own client, for rooms that need more of it than containers.
func (e *Engine) Client() *client.Client { return e.c }

// Close drops idle connections.
func (e *Engine) Close() error { return e.c.Close() }

// Info is what the engine says about itself and its machine.
type Info struct {
	ID, Version, OperatingSystem, Kernel, Arch string
	CPUs                                       int
	Memory                                     int64 // bytes
	RootDir                                    string
	CgroupDriver, CgroupVersion                string
	LiveRestore                                bool
}

// Info asks the engine about itself; an answer within the bound is also the sign that it is alive.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := e.c.Info(ctx, client.InfoOptions{})
	if err != nil {
		return Info{}, fmt.Errorf("ask engine for its info: %w", err)
	}
	i := res.Info
	return Info{ID: i.ID, Version: i.ServerVersion, OperatingSystem: i.OperatingSystem, Kernel: i.KernelVersion, Arch: i.Architecture,
		CPUs: i.NCPU, Memory: i.MemTotal, RootDir: i.DockerRootDir, CgroupDriver: i.CgroupDriver, CgroupVersion: i.CgroupVersion,
		LiveRestore: i.LiveRestoreEnabled}, nil
}

// Ping is the cheapest sign of life.
func (e *Engine) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := e.c.Ping(ctx, client.PingOptions{}); err != nil {
		return fmt.Errorf("ping engine: %w", err)
	}
	return nil
}
