package ingress

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// AccessFormat is how a line of the access log looks.
type AccessFormat uint8

const (
	JSONLines AccessFormat = iota // one JSON object a line, as slog writes it
	Combined                      // the combined format of Apache and nginx
)

// accessLog writes lines from a bounded queue, so that a slow disk never holds up a request: lines that find it full are dropped
// and counted.
type accessLog struct {
	out    io.Writer
	format AccessFormat
	queue  chan entry
}

type entry struct {
	at                                    time.Time
	took                                  time.Duration
	client, method, host, uri, proto      string
	referer, agent, rule, backend, target string
	status                                int
	bytes                                 int64
	attempts                              int
}

func newAccessLog(out io.Writer, format AccessFormat) *accessLog {
	if out == nil {
		return nil
	}
	return &accessLog{out: out, format: format, queue: make(chan entry, 4096)}
}

// put reports whether the entry found room.
func (l *accessLog) put(e entry) bool {
	select {
	case l.queue <- e:
		return true
	default:
		return false
	}
}

// run writes until stop closes, then what is still queued.
func (l *accessLog) run(stop <-chan struct{}) {
	handler := slog.NewJSONHandler(l.out, nil)
	for {
		select {
		case e := <-l.queue:
			l.write(handler, &e)
		case <-stop:
			for {
				select {
				case e := <-l.queue:
					l.write(handler, &e)
				default:
					return
				}
			}
		}
	}
}

// write has nobody to tell of an error: the log is where it would be told.
func (l *accessLog) write(h slog.Handler, e *entry) {
	if l.format == Combined {
		_, _ = fmt.Fprintf(l.out, "%s - - [%s] %q %d %d %q %q\n", e.client, e.at.Format("02/Jan/2006:15:04:05 -0700"),
			e.method+" "+e.uri+" "+e.proto, e.status, e.bytes, dash(e.referer), dash(e.agent))
		return
	}
	r := slog.NewRecord(e.at, slog.LevelInfo, "request", 0)
	r.AddAttrs(slog.String("client", e.client), slog.String("method", e.method), slog.String("host", e.host), slog.String("uri", e.uri),
		slog.String("proto", e.proto), slog.Int("status", e.status), slog.Int64("bytes", e.bytes), slog.Int64("us", e.took.Microseconds()),
		slog.String("rule", e.rule), slog.String("backend", e.backend), slog.String("endpoint", e.target), slog.Int("attempts", e.attempts),
		slog.String("referer", e.referer), slog.String("agent", e.agent))
	_ = h.Handle(context.Background(), r)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// short bounds what one request can make the queue hold.
func short(s string) string {
	if len(s) > 1024 {
		return strings.Clone(s[:1024])
	}
	return s
}

func newEntry(r *http.Request, f *flight, w *recorder) entry {
	e := entry{at: f.start, took: time.Since(f.start), client: clientOf(r), method: r.Method, host: short(r.Host), uri: short(r.RequestURI), proto: r.Proto,
		referer: short(r.Referer()), agent: short(r.UserAgent()), status: w.status, bytes: w.bytes, attempts: f.attempts}
	if f.route != nil {
		e.rule, e.backend = f.route.Rule.Name, f.route.Rule.Backend.Name
	}
	if f.endpoint != nil {
		e.target = f.endpoint.addr.String()
	}
	return e
}
