package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"time"
)

// ServeHTTP answers one request by the present table.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer p.handlers.leave(p.handlers.enter())
	p.totals.active.Add(1)
	rec := newRecorder(w, r, p.config.ClientTimeout, &p.leaving)
	f := &flight{proxy: p, start: time.Now()}
	defer p.finish(rec, r, f)

	pic := p.live.Load()
	if r.Method == http.MethodConnect {
		page(rec, http.StatusMethodNotAllowed, "this is no forward proxy")
		return
	}
	route, ok := pic.table.Route(r.Host, r.URL.Path)
	if !ok {
		p.totals.unmatched.Add(1)
		page(rec, http.StatusNotFound, fmt.Sprintf("no ingress rule for host %q has this path", canonical(r.Host)))
		return
	}
	f.route, f.pool, f.counts = route, pic.pools[route.backend], pic.counts[route.index]
	r, err := f.receive(r, rec)
	if err != nil {
		f.fail(rec, r, err)
		return
	}
	proxy := p.template
	proxy.Transport, proxy.ErrorHandler = f, f.fail
	proxy.ServeHTTP(rec, r)
}

// finish counts and logs a request, however it ended.
func (p *Proxy) finish(w *recorder, r *http.Request, f *flight) {
	if f.response != nil {
		_ = f.response.Close() // an upgrade that came to nothing leaves it open
	}
	if f.client != nil && !f.upgraded {
		f.client.end()
	}
	switch {
	case w.status != 0:
	case f.upgraded:
		w.status = http.StatusSwitchingProtocols
	default:
		w.status = statusGone
	}
	p.totals.active.Add(-1)
	p.totals.requests.Add(1)
	if f.counts != nil {
		f.counts.done(w.status)
	}
	if p.access != nil && p.accessOn.Load() && !p.access.put(newEntry(r, f, w)) {
		p.totals.accessLost.Add(1)
	}
}

// receive prepares the request's body: a small one is read whole, so that it can be sent again. It returns a copy, because the server
// must find its own body in its own request: by that it knows whether the connection holds the rest of a body or a next request.
func (f *flight) receive(in *http.Request, w *recorder) (*http.Request, error) {
	if in.ContentLength == 0 || in.Body == nil || in.Body == http.NoBody {
		return in, nil
	}
	r := new(http.Request)
	*r = *in
	f.client = &clientBody{ReadCloser: in.Body, control: w.control, patience: w.patience, timers: w.timers}
	r.Body = f.client
	if r.ProtoMajor == 1 {
		w.early = func() {
			if !f.client.over.Load() {
				answeredEarly(w, in)
			}
		}
	}
	if r.ContentLength < 0 || r.ContentLength > mostReplayable || upgrades(r) {
		_ = w.control.EnableFullDuplex() // an endpoint may answer while it still reads
		return r, nil
	}
	f.body = make([]byte, r.ContentLength)
	if _, err := io.ReadFull(f.client, f.body); err != nil {
		return r, &errClient{err}
	}
	f.whole = true
	r.Body = io.NopCloser(bytes.NewReader(f.body))
	return r, f.client.drain()
}

// drain reads the end of a body that is complete, so that the server stops waiting for more of it.
func (b *clientBody) drain() error {
	var none [1]byte
	if n, err := b.Read(none[:]); n > 0 || !errors.Is(err, io.EOF) {
		return &errClient{errors.New("the body is longer than it says")}
	}
	return nil
}

func upgrades(r *http.Request) bool { return r.Header.Get("Upgrade") != "" }

// errClient marks a failure to read the request from the client.
type errClient struct{ err error }

func (e *errClient) Error() string { return "read the request: " + e.err.Error() }
func (e *errClient) Unwrap() error { return e.err }

// fail answers a request that could not be forwarded: with a page that says which rule and service, but no address.
func (f *flight) fail(w http.ResponseWriter, r *http.Request, err error) {
	rec := w.(*recorder)
	about := fmt.Sprintf("ingress %s, service %s", f.route.Rule.Name, f.pool.name)
	var client *errClient
	var refused *errConnect
	switch {
	case f.client != nil && f.client.late.Load():
		page(rec, http.StatusRequestTimeout, "the request's body did not come in time")
	case r.Context().Err() != nil:
		rec.status = statusGone
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	case errors.As(err, &client):
		page(rec, http.StatusBadRequest, "the request's body could not be read")
	case errors.Is(err, errNoEndpoint):
		f.counts.noEndpoint.Add(1)
		rec.Header().Set("Retry-After", "1")
		page(rec, http.StatusServiceUnavailable, about+": "+or(f.pool.missing, "the service has no ready endpoints"))
	case timedOut(err):
		f.counts.timedOut.Add(1)
		page(rec, http.StatusGatewayTimeout, about+": no answer in time")
	case errors.As(err, &refused):
		f.counts.unreachable.Add(1)
		page(rec, http.StatusBadGateway, about+": no endpoint could be reached ("+attempts(f.attempts)+")")
	default:
		f.counts.unreachable.Add(1)
		page(rec, http.StatusBadGateway, about+": the endpoint broke off before it answered ("+attempts(f.attempts)+")")
	}
	f.proxy.log.Debug("request failed", "rule", f.route.Rule.Name, "backend", f.pool.name, "attempts", f.attempts, "status", rec.status, "err", err)
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return strconv.Itoa(n) + " attempts"
}

// page writes a plain text answer of the proxy's own.
func page(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%d %s\n%s\n", status, http.StatusText(status), text)
}

// newTemplate is the part of httputil.ReverseProxy that all requests share.
func (p *Proxy) newTemplate() httputil.ReverseProxy {
	return httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", "endpoint"
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it came, even where it is not well formed
			p.forwarded(pr.In, pr.Out)
		},
		BufferPool: &p.buffers,
		ErrorLog:   p.serverLog,
	}
}
