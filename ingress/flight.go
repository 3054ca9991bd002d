package ingress

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	mostAttempts   = 3 // by one picture
	mostInAll      = 6
	mostReplayable = 32 << 10 // bytes of a request body that are kept to send it again
)

var errNoEndpoint = errors.New("no ready endpoints")

// flight is one request on its way: an http.RoundTripper of its own, because the endpoint is chosen per attempt.
//
//	pick ─► send ─► response ─► body read to its end ─► done
//	  ▲       │
//	  └───────┤ connect failed: any request whose body is untouched
//	          └ died before a response: idempotent requests whose body can be sent again
type flight struct {
	proxy    *Proxy
	start    time.Time
	route    *Route
	pool     *pool
	counts   *counts
	endpoint *endpoint
	attempts int
	tried    []*endpoint
	whole    bool // body holds all of it
	body     []byte
	client   *clientBody
	response *busyBody // of the last attempt
	upgraded bool
}

// RoundTrip implements http.RoundTripper. When all that the picture names have failed it is taken for out of date: endpoints that left
// are withdrawn a moment later than they refuse. The request then waits for another picture, Config.StaleTimeout at most in all
// its life, and goes on with endpoints that it has not met.
func (f *flight) RoundTrip(r *http.Request) (*http.Response, error) {
	f.await(r)
	original := &untouched{ReadCloser: r.Body}
	var patience <-chan time.Time
	var last error
	for {
		seen := f.proxy.live.Load()
		resp, err := f.try(r, seen, original, last)
		if err == nil || errors.Is(err, errNoEndpoint) || r.Context().Err() != nil || f.attempts >= mostInAll || !f.again(r, err, original) {
			return resp, err
		}
		last = err
		if patience == nil {
			t := time.NewTimer(f.proxy.config.StaleTimeout)
			defer t.Stop()
			patience = t.C
		}
		select {
		case <-seen.replaced:
		case <-patience:
			return nil, last
		case <-r.Context().Done():
			return nil, last
		}
	}
}

// try sends the request to endpoints of one picture until one answers, or none is left or allowed; last is what failed before.
func (f *flight) try(r *http.Request, seen *picture, original *untouched, last error) (*http.Response, error) {
	for n := range mostAttempts {
		if f.attempts > 0 { // the first attempt is by the picture that the route is of
			if pl := seen.pool(f.pool.name); pl != nil {
				f.pool = pl
			}
		}
		e := f.pool.pick(time.Now().UnixNano(), f.tried)
		if e == nil {
			break
		}
		if f.attempts > 0 {
			f.proxy.totals.retries.Add(1)
		}
		f.tried, f.endpoint = append(f.tried, e), e
		f.attempts++
		resp, err := f.send(r, e, original)
		if err == nil {
			return resp, nil
		}
		last = err
		if n == mostAttempts-1 || r.Context().Err() != nil || !f.again(r, err, original) {
			break
		}
		seen = f.proxy.live.Load()
	}
	if last == nil {
		last = errNoEndpoint
	}
	return nil, last
}

// send makes one attempt. The endpoint counts as busy until the response's body is closed.
func (f *flight) send(r *http.Request, e *endpoint, original *untouched) (*http.Response, error) {
	attempt := r
	if r.Body != nil {
		attempt = new(http.Request)
		*attempt = *r
		if f.whole {
			attempt.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.body)), nil }
			attempt.Body, _ = attempt.GetBody()
		} else {
			attempt.Body = original
		}
	}
	e.inFlight.Add(1)
	resp, err := e.transport.RoundTrip(attempt)
	if err == nil {
		e.connected()
		f.response = &busyBody{ReadCloser: resp.Body, endpoint: e}
		f.upgraded = resp.StatusCode == http.StatusSwitchingProtocols
		resp.Body = f.response.whole()
		return resp, nil
	}
	e.done()
	if refused := (*errConnect)(nil); errors.As(err, &refused) && r.Context().Err() == nil && e.connectFailed(time.Now(), err) {
		f.proxy.totals.ejections.Add(1)
		f.proxy.log.Debug("endpoint left out after a failed connect", "backend", f.pool.name, "endpoint", e.addr, "err", err)
	}
	return nil, err
}

// again says whether the request may be sent once more after err.
func (f *flight) again(r *http.Request, err error, original *untouched) bool {
	if refused := (*errConnect)(nil); errors.As(err, &refused) {
		return r.Body == nil || f.whole || !original.read.Load()
	}
	if timedOut(err) {
		return false
	}
	return idempotent(r.Method) && (r.Body == nil || f.whole)
}

// idempotent methods by RFC 9110, section 9.2.2.
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	if refused := (*errConnect)(nil); errors.As(err, &refused) {
		return false // a connect that timed out is a connect that failed
	}
	return errors.As(err, &t) && t.Timeout()
}

// untouched is a request body that knows whether any of it was asked for.
type untouched struct {
	io.ReadCloser
	read atomic.Bool
}

func (u *untouched) Read(p []byte) (int, error) {
	u.read.Store(true)
	return u.ReadCloser.Read(p)
}

// Close does nothing: the transport closes the body of a failed attempt, but another may follow. The server closes the real one.
func (u *untouched) Close() error { return nil }

// busyBody keeps its endpoint busy until it is closed, by whoever is first.
type busyBody struct {
	io.ReadCloser
	endpoint *endpoint
	closed   atomic.Bool
}

func (b *busyBody) Close() error {
	err := b.ReadCloser.Close()
	if b.closed.CompareAndSwap(false, true) {
		b.endpoint.done()
	}
	return err
}

// whole is the body with the abilities of the original: that of an upgrade is written to, and half of it can be closed.
func (b *busyBody) whole() io.ReadCloser {
	w, ok := b.ReadCloser.(io.Writer)
	if !ok {
		return b
	}
	if half, ok := w.(interface{ CloseWrite() error }); ok {
		return struct {
			*busyBody
			io.Writer
			halfCloser
		}{b, w, half}
	}
	return struct {
		*busyBody
		io.Writer
	}{b, w}
}

type halfCloser interface{ CloseWrite() error }
