package ingress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// endpoint is one server behind the proxy. It outlives tables: what is known of its health and its open connections stays while
// any table names it. Each has a transport of its own, so that its idle connections can be closed when it is withdrawn.
type endpoint struct {
	addr      netip.AddrPort
	transport *http.Transport
	inFlight  atomic.Int64
	failures  atomic.Int32 // connects that failed in a row
	withdrawn atomic.Bool
	ejected   atomic.Int64 // until this time (Unix nanoseconds) it is chosen only when nothing else is left
}

const (
	connectTimeout  = 1250 * time.Millisecond // a SYN that is lost, or that a full queue drops, is sent again after 1 s
	idleConnections = 256                     // kept per endpoint
	firstEjection   = time.Second
	longestEjection = 30 * time.Second
)

// errConnect marks a request that never left: no connection to the endpoint could be made.
type errConnect struct{ err error }

func (e *errConnect) Error() string { return e.err.Error() }
func (e *errConnect) Unwrap() error { return e.err }

func newEndpoint(addr netip.AddrPort, c *Config) *endpoint {
	e := &endpoint{addr: addr}
	dial, target := c.Dial, addr.String()
	e.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := dial(ctx, "tcp", target)
			if err != nil {
				return nil, &errConnect{fmt.Errorf("connect to %s: %w", target, err)}
			}
			return newEndpointConn(c), nil
		},
		MaxIdleConnsPerHost:    idleConnections,
		IdleConnTimeout:        50 * time.Second, // below the 60 s after which many servers close
		ResponseHeaderTimeout:  c.ResponseTimeout,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 256 << 10,
	}
	return e
}

// connectFailed ejects the endpoint for a while that doubles with every failure in a row, unless the fault is on this side.
func (e *endpoint) connectFailed(now time.Time, err error) (ejected bool) {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		return false
	}
	n := min(e.failures.Add(1), 6)
	e.ejected.Store(now.Add(min(firstEjection<<(n-1), longestEjection)).UnixNano())
	return true
}

func (e *endpoint) connected() {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
		e.ejected.Store(0)
	}
}

// done ends a request that inFlight counted.
func (e *endpoint) done() {
	if e.inFlight.Add(-1) == 0 && e.withdrawn.Load() {
		e.transport.CloseIdleConnections()
	}
}

// withdraw closes the connections that no request uses, now and when the running ones are done.
func (e *endpoint) withdraw() {
	e.withdrawn.Store(true)
	e.transport.CloseIdleConnections()
}

func (e *endpoint) healthy(now int64) bool {
	until := e.ejected.Load()
	return until == 0 || until <= now
}

// pool is the endpoints of one backend.
type pool struct {
	name      string
	endpoints []*endpoint
	missing   string    // of Backend
	emptied   time.Time // when it lost its last endpoint; zero: it has some, or never had
}

// pick chooses the less busy of two random endpoints (Mitzenmacher 2001) that are healthy and not yet tried for this request. When
// all are ejected it chooses among those: an endpoint that may refuse is better than none. nil when every one was tried.
func (p *pool) pick(now int64, tried []*endpoint) *endpoint {
	n := len(p.endpoints)
	if n == 0 {
		return nil
	}
	if len(tried) == 0 {
		a, b := p.endpoints[rand.IntN(n)], p.endpoints[rand.IntN(n)]
		if a.healthy(now) && b.healthy(now) {
			return lessBusy(a, b)
		}
	}
	if e := p.two(func(e *endpoint) bool { return e.healthy(now) && !among(tried, e) }); e != nil {
		return e
	}
	return p.two(func(e *endpoint) bool { return !among(tried, e) })
}

// two chooses among the endpoints that pass, wherever they are.
func (p *pool) two(passes func(*endpoint) bool) *endpoint {
	var found []*endpoint
	for _, e := range p.endpoints {
		if passes(e) {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return lessBusy(found[rand.IntN(len(found))], found[rand.IntN(len(found))])
}

func lessBusy(a, b *endpoint) *endpoint {
	if b.inFlight.Load() < a.inFlight.Load() {
		return b
	}
	return a
}

func among(es []*endpoint, e *endpoint) bool {
	for _, x := range es {
		if x == e {
			return true
		}
	}
	return false
}
