// Package lasting counts requests that may take as long as they like (logs that are followed, exec, attach, port-forward), so that a daemon
// that gives way to its next image knows what it still carries, and when that has ended.
package lasting

import (
	"context"
	"net/http"
	"sync"
)

// Crowd is requests that run. Its zero value is empty. All methods are safe for concurrent use.
type Crowd struct {
	mu    sync.Mutex // guards what is below
	n     int
	empty []chan struct{} // closed when n falls to 0
}

// Handler counts those requests to next that last, from their beginning until next returns: upgraded ones return when the
// connection ends.
func (c *Crowd) Handler(next http.Handler, lasts func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lasts(r) {
			c.enter()
			defer c.leave()
		}
		next.ServeHTTP(w, r)
	})
}

// Active is how many run.
func (c *Crowd) Active() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// Wait returns true as soon as none runs, and false when ctx ended before.
func (c *Crowd) Wait(ctx context.Context) bool {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return true
	}
	empty := make(chan struct{})
	c.empty = append(c.empty, empty)
	c.mu.Unlock()
	select {
	case <-empty:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Crowd) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *Crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n > 0 {
		return
	}
	for _, e := range c.empty {
		close(e)
	}
	c.empty = nil
}
