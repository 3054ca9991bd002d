package ingress

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// statusGone stands in the log for a client that went away before it had an answer (as in nginx).
const statusGone = 499

// recorder is the way to the client: it notes what is sent, and gives up on a client that takes nothing for too long.
type recorder struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	timers   bool // HTTP/2: deadlines fire by themselves, so none may be left standing (HTTP/1: the server removes it)
	status   int
	bytes    int64
}

func newRecorder(w http.ResponseWriter, r *http.Request, patience time.Duration) *recorder {
	return &recorder{ResponseWriter: w, control: http.NewResponseController(w), patience: patience, timers: r.ProtoMajor > 1}
}

// Unwrap gives http.ResponseController the abilities of the writer within, hijacking among them.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.deadline(w.patience)
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	if w.timers {
		w.deadline(0)
	}
	return n, err
}

// FlushError is what http.ResponseController calls.
func (w *recorder) FlushError() error {
	w.deadline(w.patience)
	err := w.control.Flush()
	if w.timers {
		w.deadline(0)
	}
	return err
}

// deadline is advice to the connection; one that knows no deadlines has none.
func (w *recorder) deadline(d time.Duration) {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	_ = w.control.SetWriteDeadline(at)
}

// clientBody gives up on a client that sends nothing for too long, and marks its errors as the client's.
type clientBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	timers   bool        // as of recorder: an endpoint that takes its time between two reads is not the client's fault
	late     atomic.Bool // it gave up; the request's context is then cancelled too
}

func (b *clientBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(b.patience))
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
		if b.timers {
			_ = b.control.SetReadDeadline(time.Time{})
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.late.Store(true)
		err = &errClient{err}
	default:
		_ = b.control.SetReadDeadline(time.Time{}) // the server goes on listening for the client to leave
		if err != io.EOF {
			err = &errClient{err}
		}
	}
	return n, err
}

// clientOf is the address of the peer, without port.
func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// trusted says whether the peer is a proxy whose X-Forwarded headers are believed.
func (p *Proxy) trusted(r *http.Request) bool {
	if len(p.config.Trusted) == 0 {
		return false
	}
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	for _, t := range p.config.Trusted {
		if t.Contains(addr.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// forwarded says of a request who sent it. What a stranger claims about it is dropped (httputil has done so already).
func (p *Proxy) forwarded(in, out *http.Request) {
	client, proto, host := clientOf(in), "http", in.Host
	if in.TLS != nil {
		proto = "https"
	}
	chain, real := client, client
	if p.trusted(in) {
		if before := strings.Join(in.Header.Values("X-Forwarded-For"), ", "); before != "" {
			chain = before + ", " + client
		}
		proto = or(in.Header.Get("X-Forwarded-Proto"), proto)
		host = or(in.Header.Get("X-Forwarded-Host"), host)
		real = or(in.Header.Get("X-Real-Ip"), client)
	}
	out.Header["X-Forwarded-For"] = []string{chain}
	out.Header["X-Forwarded-Proto"] = []string{proto}
	out.Header["X-Forwarded-Host"] = []string{host}
	out.Header["X-Real-Ip"] = []string{real}
	out.Header.Del("Proxy") // some servers make it their HTTP_PROXY
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
