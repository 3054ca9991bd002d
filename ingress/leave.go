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

// first is how long those that were accepted last have for their first request: a TLS handshake on a busy machine.
const first = 300 * time.Millisecond

// Dismiss has clients let go of their connections: from now on every answer closes the one that it goes by. All requests are served
// on. It returns when those that were running at the call have ended and kept connections had a second, or when ctx ends; a
// Drain then finds little to wait for.
func (p *Proxy) Dismiss(ctx context.Context) {
	p.leaving.Store(true)
	gone := p.handlers.turn()
	if !p.conns.none() { // upgraded ones are not among them: they have nothing more to bring
		t := time.NewTimer(linger)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// Leave stops accepting, for a successor on the same addresses, and cuts nothing: it returns when running requests have finished, or
// when ctx ends, and tells how many run then, upgrades among them. Run goes on until they have ended by themselves, or a Drain
// cuts them.
func (p *Proxy) Leave(ctx context.Context) (left int) {
	p.patient.Store(true)
	p.drainOne.Do(func() { close(p.drain) })
	if !p.running.Load() {
		return 0
	}
	select {
	case <-p.alone:
	case <-p.ended:
	}
	select {
	case <-p.ended:
		return 0
	case <-ctx.Done():
		return p.handlers.busy()
	}
}

// connections are those of clients, with their state.
type connections struct {
	mu      sync.Mutex // guards what is below
	state   map[net.Conn]http.ConnState
	busy    int // new or with a request: an answer is due
	waiters []chan struct{}
}

func due(s http.ConnState) bool { return s == http.StateNew || s == http.StateActive }

// note is told of every change by the servers.
func (c *connections) note(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == nil {
		c.state = map[net.Conn]http.ConnState{}
	}
	if old, known := c.state[conn]; known && due(old) {
		c.busy--
	}
	if s == http.StateClosed || s == http.StateHijacked {
		delete(c.state, conn)
	} else {
		c.state[conn] = s
	}
	if due(s) {
		c.busy++
	}
	if c.busy > 0 {
		return
	}
	for _, w := range c.waiters {
		close(w)
	}
	c.waiters = nil
}

func (c *connections) none() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.state) == 0
}

// settle waits until no answer is due, at most so long or until ctx ends.
func (c *connections) settle(ctx context.Context, most time.Duration) {
	c.mu.Lock()
	if c.busy == 0 {
		c.mu.Unlock()
		return
	}
	quiet := make(chan struct{})
	c.waiters = append(c.waiters, quiet)
	c.mu.Unlock()
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-quiet:
	case <-t.C:
	case <-ctx.Done():
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

func (h *handlers) busy() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
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
