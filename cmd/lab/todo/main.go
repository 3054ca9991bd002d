// Command todo is the application of the demonstration: a list of things to do in three tiers. `todo frontend` serves the page and hands
// /api to the back end; `todo backend` keeps the list in Redis. Both are what a cluster asks of an application:
// configured by environment and files, honest about readiness, and slow to leave, so that nobody notices.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := start(ctx, os.Args[1:], log); err != nil {
		log.Error("todo ends", "error", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, args []string, log *slog.Logger) error {
	tier := ""
	if len(args) == 1 {
		tier = args[0]
	}
	settings, err := settingsFrom(os.LookupEnv)
	if err != nil {
		return err
	}
	switch tier {
	case "frontend":
		f, err := newFrontend(settings, log)
		if err != nil {
			return err
		}
		return serve(ctx, settings, f, log)
	case "backend":
		return serve(ctx, settings, newBackend(settings, log), log)
	default:
		return fmt.Errorf("usage: todo frontend|backend")
	}
}

// A tier is a handler that knows whether it can do its work.
type tier interface {
	http.Handler
	ready(ctx context.Context) error
}

// serve answers until ctx ends and then for the drain time more, with readiness failing, so that whoever routes here learns of it
// before the door closes; what runs then is finished.
func serve(ctx context.Context, s settings, t tier, log *slog.Logger) error {
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: withProbes(ctx, t, s), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 60 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	log.Info("serving", "address", l.Addr().String(), "version", s.version)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Info("leaving", "drain", s.drain.String())
	select {
	case err := <-failed:
		return err
	case <-time.After(s.drain):
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("finish what runs: %w", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// withProbes adds what the cluster asks, and says on every answer who gave it.
func withProbes(leaving context.Context, t tier, s settings) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", t)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := t.ready(r.Context())
		if leaving.Err() != nil {
			err = errors.New("leaving")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("X-Todo-Served-By", s.tier(t)+" "+s.host+" "+s.version)
		if leaving.Err() != nil {
			w.Header().Set("Connection", "close") // the next request of this client goes elsewhere
		}
		mux.ServeHTTP(w, r)
	})
}
