package ingress

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// linger is how long kept connections have, from Dismiss on, to bring one more request and to be closed by its answer. One
// that is closed while it is idle may cross with a request, which its client then sees fail.
const linger = time.Second

// Dismiss has clients let go of their connections: from now on every answer closes the one that it goes by. All requests are served
// on. It returns when those that were running at the call have ended and kept connections had a second, or when ctx ends; a
// Drain then finds little to wait for.
func (p *Proxy) Dismiss(ctx context.Context) {
	p.leaving.Store(true)
	gone := p.handlers.turn()
	if p.open.Load() == 0 {
		return
	}
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// dismiss says to one client what Dismiss says to all. An upgrade ends with its connection anyway.
func (p *Proxy) dismiss(w http.ResponseWriter, r *http.Request) {
	if p.leaving.Load() && !upgrades(r) {
		w.Header().Set("Connection", "close")
	}
}

// count keeps the number of connections.
func (p *Proxy) count(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		p.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		p.open.Add(-1)
	}
}

// handlers counts requests in work, those on upgraded connections too, which http.Server.Shutdown does not wait for.
type handlers struct {
	mu      sync.Mutex // guards what is below
	n       int
	now     *crowd
	waiters []chan struct{}
}

// crowd is the requests that came between two turns.
type crowd struct {
	n    int
	gone chan struct{} // from the turn on: closed when none is left
}

// enter counts a request and gives what leave needs.
func (h *handlers) enter() *crowd {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now == nil {
		h.now = &crowd{}
	}
	h.n++
	h.now.n++
	return h.now
}

func (h *handlers) leave(c *crowd) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.n--; c.n == 0 && c.gone != nil {
		close(c.gone)
	}
	if h.n--; h.n > 0 {
		return
	}
	for _, w := range h.waiters {
		close(w)
	}
	h.waiters = nil
}

// turn begins a new crowd; what it returns is closed when the old one is gone.
func (h *handlers) turn() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	gone := make(chan struct{})
	if h.now == nil || h.now.n == 0 {
		close(gone)
	} else {
		h.now.gone = gone
	}
	h.now = &crowd{}
	return gone
}

// idle is closed when no request is in work.
func (h *handlers) idle() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := make(chan struct{})
	if h.n == 0 {
		close(w)
	} else {
		h.waiters = append(h.waiters, w)
	}
	return w
}
