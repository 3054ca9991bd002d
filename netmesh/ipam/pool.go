// Package ipam hands out the pod addresses of one host: those of its slot, one a pod. It keeps nothing on disk: what is
// in use is known by the pods themselves, which are adopted after a restart.
package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// ErrExhausted says that every address of the slot is in use.
var ErrExhausted = errors.New("no pod address is left on this host")

// ErrTaken says that an address already belongs to another pod.
var ErrTaken = errors.New("the address belongs to another pod")

// Pool holds the addresses of a slot: all but the network's, the host's own (the first) and the broadcast address. Its
// methods may be called by many goroutines.
//
// An address that comes back waits behind every other free one, so that nobody meets the late packets of a pod that has just ended.
type Pool struct {
	mu    sync.Mutex // guards all below
	cidr  netip.Prefix
	free  []netip.Addr // first in, first out
	owner map[netip.Addr]string
	addr  map[string]netip.Addr
}

// New makes the pool of a slot, all of it free.
func New(slot netip.Prefix) (*Pool, error) {
	if !slot.IsValid() || !slot.Addr().Is4() || slot.Bits() > 29 || slot.Bits() < 16 {
		return nil, fmt.Errorf("pod address pool %q: want an IPv4 prefix between /16 and /29", slot)
	}
	p := &Pool{cidr: slot.Masked(), owner: map[netip.Addr]string{}, addr: map[string]netip.Addr{}}
	first := p.cidr.Addr().Next().Next() // .0 names the slot, .1 is the host
	for a := first; p.cidr.Contains(a.Next()); a = a.Next() {
		p.free = append(p.free, a)
	}
	return p, nil
}

// CIDR is the slot that the pool was made for.
func (p *Pool) CIDR() netip.Prefix { return p.cidr }

// Assign gives a pod its address; asked again, the same one. ErrExhausted when none is left.
func (p *Pool) Assign(podUID string) (netip.Addr, error) {
	if podUID == "" {
		return netip.Addr{}, errors.New("assign a pod address: the pod has no UID")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.addr[podUID]; ok {
		return a, nil
	}
	if len(p.free) == 0 {
		return netip.Addr{}, fmt.Errorf("assign an address of %s to pod %s: all %d are in use: %w", p.cidr, podUID, len(p.owner), ErrExhausted)
	}
	a := p.free[0]
	p.free = p.free[1:]
	p.owner[a], p.addr[podUID] = podUID, a
	return a, nil
}

// Adopt records that a pod already has an address, as after a restart. ErrTaken when another pod has it; an address
// outside of the slot is refused, since no route leads to it.
func (p *Pool) Adopt(podUID string, a netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case podUID == "":
		return errors.New("adopt a pod address: the pod has no UID")
	case p.owner[a] == podUID:
		return nil
	case p.owner[a] != "":
		return fmt.Errorf("adopt %s for pod %s: held by pod %s: %w", a, podUID, p.owner[a], ErrTaken)
	case p.addr[podUID].IsValid():
		return fmt.Errorf("adopt %s for pod %s: the pod already has %s", a, podUID, p.addr[podUID])
	}
	for i, f := range p.free {
		if f == a {
			p.free = append(p.free[:i:i], p.free[i+1:]...)
			p.owner[a], p.addr[podUID] = podUID, a
			return nil
		}
	}
	return fmt.Errorf("adopt %s for pod %s: not an address of this host's slot %s", a, podUID, p.cidr)
}

// Release takes a pod's address back. A pod without one is no error: releasing twice is releasing once.
func (p *Pool) Release(podUID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.addr[podUID]
	if !ok {
		return
	}
	delete(p.addr, podUID)
	delete(p.owner, a)
	p.free = append(p.free, a)
}

// Lookup is the address that a pod has.
func (p *Pool) Lookup(podUID string) (netip.Addr, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.addr[podUID]
	return a, ok
}

// Free counts the addresses that are left.
func (p *Pool) Free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free)
}
