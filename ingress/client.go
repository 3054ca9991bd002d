package ingress

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
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
	timers   bool         // HTTP/2: deadlines fire by themselves, so none may be left standing (HTTP/1: the server removes it)
	leaving  *atomic.Bool // the connection is to end with the answer, whenever that was decided
	early    func()       // called when an answer's header is about to be sent, other than that of an upgrade; nil: nothing is
	status   int
	bytes    int64
}

func newRecorder(w http.ResponseWriter, r *http.Request, patience time.Duration, leaving *atomic.Bool) *recorder {
	return &recorder{ResponseWriter: w, control: http.NewResponseController(w), patience: patience, timers: r.ProtoMajor > 1, leaving: leaving}
}

// Unwrap gives http.ResponseController the abilities of the writer within, hijacking among them.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	if status >= 200 && w.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	if status >= 200 && w.early != nil {
		w.early()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
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
	over     atomic.Bool // it was read to its end

	reading sync.Mutex // held by a read
	mu      sync.Mutex // guards what is below, and the deadline of a read that begins
	ended   bool
}

var errEnded = errors.New("the request is answered")

// begin allows one read, unless the body has been taken back.
func (b *clientBody) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_ = b.control.SetReadDeadline(time.Now().Add(b.patience))
	}
	return !b.ended
}

func (b *clientBody) taken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

// end takes the body back from the transport, which reads on after an early answer: the server, which closes the body next, would
// break off that read and forget to bound its own. Afterwards nobody but the server reads, for as long as a client is heard out;
// one that sent nothing for so long that it was given up is not.
func (b *clientBody) end() {
	if b.timers || b.over.Load() {
		return
	}
	b.mu.Lock()
	b.ended = true
	_ = b.control.SetReadDeadline(time.Unix(1, 0))
	b.mu.Unlock()
	b.reading.Lock()
	defer b.reading.Unlock()
	if !b.late.Load() {
		_ = b.control.SetReadDeadline(time.Now().Add(hearOut))
	}
}

func (b *clientBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if !b.begin() {
		return 0, &errClient{errEnded}
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
		if b.timers {
			_ = b.control.SetReadDeadline(time.Time{})
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.late.Store(!b.taken())
		err = &errClient{err}
	default:
		_ = b.control.SetReadDeadline(time.Time{}) // the server goes on listening for the client to leave
		if err == io.EOF {
			b.over.Store(true)
		} else {
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
