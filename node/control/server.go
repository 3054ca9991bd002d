package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"time"
)

// Daemon is what the command may ask of the running daemon.
type Daemon interface {
	Status(context.Context) Status
	Members(context.Context) []Member
	Conflicts(context.Context) []Conflict
	CreateToken(context.Context, time.Duration) (string, error)
	Kubeconfig(user string, groups []string, server string) ([]byte, error)
	LoadImage(context.Context, io.Reader) ([]Image, error)
	RememberImage(ctx context.Context, ref string) (Image, error)
	Images() ([]Image, error)
	Fence(ctx context.Context, node string, lift bool) error
	RotateSecrets(context.Context) (int, error)
	Restart(context.Context) (version string, err error)
	Backup(context.Context, io.Writer) error
	Merge(context.Context, io.Reader) (Merged, error)
	Lost(context.Context) ([]Lost, error)
	AdmitLost(ctx context.Context, id string, replace bool) error
	DropLost(ctx context.Context, id string) error
	Evict(ctx context.Context, nameOrID string, force bool) (Member, error)
	Explain(ctx context.Context, namespace, pod string) (Explanation, error)
	Forecast(context.Context, ForecastRequest) (Forecast, error)
}

const (
	maxRequest    = 64 << 10 // bytes, of all requests but image archives and manifests
	maxManifests  = 8 << 20  // bytes, of a request with manifests in base64
	closeDeadline = 2 * time.Second
)

// Serve answers on the socket until ctx ends. A socket left by a former life is replaced; one that a living daemon answers
// on is an error.
func Serve(ctx context.Context, socket string, d Daemon, log *slog.Logger) error {
	l, err := listen(ctx, socket)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: routes(d), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeDeadline)
		defer cancel()
		if srv.Shutdown(end) != nil {
			srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", socket, err)
	}
	return nil
}

func listen(ctx context.Context, socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	if _, err := os.Stat(socket); err == nil {
		var dialer net.Dialer
		if c, err := dialer.DialContext(ctx, "unix", socket); err == nil {
			c.Close()
			return nil, fmt.Errorf("another orpheus daemon answers on %s: stop it first or set run-dir", socket)
		}
		if err := os.Remove(socket); err != nil {
			return nil, fmt.Errorf("replace the control socket: %w", err)
		}
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	return l, os.Chmod(socket, 0o600)
}

// profile writes one of the runtime's profiles, as net/http/pprof does: curl --unix-socket SOCKET http://orpheus/debug/pprof/heap
// says where a daemon's memory is.
func profile(w http.ResponseWriter, r *http.Request) {
	switch name := r.PathValue("profile"); name {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Handler(name).ServeHTTP(w, r)
	}
}

func routes(d Daemon) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/{profile}", profile)
	mux.HandleFunc("GET /v1/status", answer(func(r *http.Request) (any, error) { return d.Status(r.Context()), nil }))
	mux.HandleFunc("GET /v1/members", answer(func(r *http.Request) (any, error) { return d.Members(r.Context()), nil }))
	mux.HandleFunc("GET /v1/conflicts", answer(func(r *http.Request) (any, error) { return d.Conflicts(r.Context()), nil }))
	mux.HandleFunc("GET /v1/images", answer(func(*http.Request) (any, error) { return d.Images() }))
	mux.HandleFunc("POST /v1/images/load", answer(func(r *http.Request) (any, error) { return d.LoadImage(r.Context(), r.Body) }))
	mux.HandleFunc("POST /v1/images/remember", answer(func(r *http.Request) (any, error) {
		return d.RememberImage(r.Context(), r.URL.Query().Get("ref"))
	}))
	mux.HandleFunc("POST /v1/token", answer(func(r *http.Request) (any, error) {
		req, err := read[TokenRequest](r, maxRequest)
		if err != nil {
			return nil, err
		}
		return d.CreateToken(r.Context(), req.TTL)
	}))
	mux.HandleFunc("POST /v1/kubeconfig", answer(func(r *http.Request) (any, error) {
		req, err := read[KubeconfigRequest](r, maxRequest)
		if err != nil {
			return nil, err
		}
		return d.Kubeconfig(req.User, req.Groups, req.Server)
	}))
	mux.HandleFunc("POST /v1/fence/{node}", answer(func(r *http.Request) (any, error) {
		return nil, d.Fence(r.Context(), r.PathValue("node"), r.URL.Query().Has("lift"))
	}))
	mux.HandleFunc("GET /v1/backup", func(w http.ResponseWriter, r *http.Request) {
		if err := d.Backup(r.Context(), w); err != nil {
			panic(http.ErrAbortHandler) // the answer has begun: cut short, it is no snapshot
		}
	})
	mux.HandleFunc("POST /v1/restore", answer(func(r *http.Request) (any, error) { return d.Merge(r.Context(), r.Body) }))
	mux.HandleFunc("GET /v1/lost", answer(func(r *http.Request) (any, error) { return d.Lost(r.Context()) }))
	mux.HandleFunc("POST /v1/lost/{id}", answer(func(r *http.Request) (any, error) {
		return nil, d.AdmitLost(r.Context(), r.PathValue("id"), r.URL.Query().Has("replace"))
	}))
	mux.HandleFunc("DELETE /v1/lost/{id}", answer(func(r *http.Request) (any, error) { return nil, d.DropLost(r.Context(), r.PathValue("id")) }))
	mux.HandleFunc("POST /v1/evict/{member}", answer(func(r *http.Request) (any, error) {
		return d.Evict(r.Context(), r.PathValue("member"), r.URL.Query().Has("force"))
	}))
	mux.HandleFunc("POST /v1/secrets/rotate", answer(func(r *http.Request) (any, error) { return d.RotateSecrets(r.Context()) }))
	mux.HandleFunc("POST /v1/restart", answer(func(r *http.Request) (any, error) { return d.Restart(r.Context()) }))
	mux.HandleFunc("GET /v1/explain/{namespace}/{pod}", answer(func(r *http.Request) (any, error) {
		return d.Explain(r.Context(), r.PathValue("namespace"), r.PathValue("pod"))
	}))
	mux.HandleFunc("POST /v1/forecast", answer(func(r *http.Request) (any, error) {
		req, err := read[ForecastRequest](r, maxManifests)
		if err != nil {
			return nil, err
		}
		return d.Forecast(r.Context(), req)
	}))
	return mux
}

func read[T any](r *http.Request, most int64) (v T, err error) {
	if err := json.NewDecoder(io.LimitReader(r.Body, most)).Decode(&v); err != nil {
		return v, fmt.Errorf("read the request: %w", err)
	}
	return v, nil
}

func answer(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		v, err := do(r)
		if err != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			v = failure{err.Error()}
		}
		_ = json.NewEncoder(w).Encode(v) // a client that went away needs no answer
	}
}
