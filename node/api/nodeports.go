package api

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

// portKind is the store's kind of node port claims: one record a port, named by its number. Who creates it holds the port.
const portKind = "mesh/nodeports"

const portTimeout = 30 * time.Second

// portClaims implements portallocator.Interface over the store's records: the store's own check-and-set is the lock, and
// a claim survives restarts like any object.
type portClaims struct {
	store replica.Store
	ports utilnet.PortRange
	node  string
}

var _ portallocator.Interface = (*portClaims)(nil)

func portKey(port int) store.Key { return store.Key{Kind: portKind, Name: strconv.Itoa(port)} }

// Allocate claims one port.
func (p *portClaims) Allocate(port int) error {
	if !p.ports.Contains(port) {
		return &portallocator.ErrNotInRange{ValidPorts: p.ports.String()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), portTimeout)
	defer cancel()
	_, err := p.store.Write(ctx, store.Write{Key: portKey(port), Body: []byte(p.node)})
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrConflict) {
		return portallocator.ErrAllocated
	}
	if err != nil {
		return fmt.Errorf("claim node port %d: %w", port, err)
	}
	return nil
}

// AllocateNext claims a free port, from a random one on. As upstream does, it leaves the low end of the range to those who
// ask for a certain port, as long as there is another.
func (p *portClaims) AllocateNext() (int, error) {
	reserved := min(max(16, p.ports.Size/32), 128)
	if reserved >= p.ports.Size {
		reserved = 0
	}
	for _, part := range [][2]int{{reserved, p.ports.Size}, {0, reserved}} {
		port, err := p.allocateIn(p.ports.Base+part[0], part[1]-part[0])
		if !errors.Is(err, portallocator.ErrFull) {
			return port, err
		}
	}
	return 0, portallocator.ErrFull
}

func (p *portClaims) allocateIn(base, size int) (int, error) {
	if size == 0 {
		return 0, portallocator.ErrFull
	}
	start := rand.IntN(size)
	for i := range size {
		port := base + (start+i)%size
		if p.Has(port) {
			continue
		}
		if err := p.Allocate(port); !errors.Is(err, portallocator.ErrAllocated) {
			return port, err
		}
	}
	return 0, portallocator.ErrFull
}

// Release gives a port back; one that is free already is no error.
func (p *portClaims) Release(port int) error {
	ctx, cancel := context.WithTimeout(context.Background(), portTimeout)
	defer cancel()
	for range 3 {
		o, _ := p.store.Get(portKey(port))
		if o == nil {
			return nil
		}
		_, err := p.store.Write(ctx, store.Write{Key: o.Key, Op: store.Delete, Base: o})
		if err == nil || errors.Is(err, store.ErrGone) {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("release node port %d: %w", port, err)
		}
	}
	return fmt.Errorf("release node port %d: %w", port, store.ErrConflict)
}

// ForEach calls f with every claimed port.
func (p *portClaims) ForEach(f func(int)) {
	all, _, _, err := p.store.List(store.Selector{Kind: portKind}, store.ListOptions{})
	if err != nil {
		return
	}
	for _, o := range all {
		if port, err := strconv.Atoi(o.Name); err == nil {
			f(port)
		}
	}
}

// Has tells whether a port is claimed.
func (p *portClaims) Has(port int) bool {
	o, _ := p.store.Get(portKey(port))
	return o != nil
}

// Destroy and EnableMetrics have nothing to do.
func (p *portClaims) Destroy()       {}
func (p *portClaims) EnableMetrics() {}
