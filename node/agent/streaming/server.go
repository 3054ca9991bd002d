package streaming

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/orpheus-mesh/orpheus/node/docker"
	"github.com/orpheus-mesh/orpheus/node/lasting"
)

const (
	idleTimeout     = 4 * time.Hour // as the kubelet's
	creationTimeout = 30 * time.Second
	closeTimeout    = time.Second
)

// privileged is the group whose members may use the server.
const privileged = "system:masters"

// Target is the container that a request is for.
type Target struct {
	ID  string
	TTY bool
}

// Pods finds what runs here. Errors are shown to the user.
type Pods interface {
	// Running is the live container of that name, for exec and attach.
	Running(namespace, pod, container string) (Target, error)
	// Logged is the newest container of that name, or with previous the dead one before it.
	Logged(namespace, pod, container string, previous bool) (Target, error)
	// Sandbox is a process that lives in the pod's network namespace.
	Sandbox(namespace, pod string) (pid int, err error)
}

// Config says where to listen, by which certificates and of what.
type Config struct {
	Listen string
	TLS    *tls.Config // must require and verify client certificates
	Engine *docker.Engine
	Pods   Pods
	// Lasting counts what runs. Optional.
	Lasting *lasting.Crowd
	// Spare is asked at the end whether what runs is to live on in this process. Optional: it is cut.
	Spare func() bool
	Log   *slog.Logger
}

// Server is one node's streaming server.
type Server struct {
	cfg Config
}

// New makes the server; it listens when it runs.
func New(cfg Config) *Server {
	if cfg.Lasting == nil {
		cfg.Lasting = &lasting.Crowd{}
	}
	return &Server{cfg}
}

// Run serves until ctx ends; open streams are spared or cut then, the processes that they looked into live on.
func (s *Server) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for logs and exec: %w (set streaming-listen to a free address)", err)
	}
	srv := &http.Server{
		Handler: s.routes(), TLSConfig: s.cfg.TLS, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:     slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // upgrades need HTTP/1.1
	}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if srv.Shutdown(end) != nil && !s.spared() {
			srv.Close()
		}
	})
	defer stop()
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve logs and exec: %w", err)
	}
	return nil
}

func (s *Server) spared() bool { return s.cfg.Spare != nil && s.cfg.Spare() }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.logs)
	for _, method := range []string{"GET", "POST"} { // websockets come by GET, SPDY by POST
		mux.HandleFunc(method+" /exec/{namespace}/{pod}/{container}", s.exec)
		mux.HandleFunc(method+" /attach/{namespace}/{pod}/{container}", s.attach)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}", s.portForward)
	}
	return s.guard(s.cfg.Lasting.Handler(mux, func(*http.Request) bool { return true }))
}

func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || !slices.Contains(r.TLS.VerifiedChains[0][0].Subject.Organization, privileged) {
			http.Error(w, "a client certificate of the mesh in group "+privileged+" is required", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, ok := s.process(w, r)
	if !ok {
		return
	}
	remotecommand.ServeExec(w, r, p, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], opts,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

// process finds the container that is asked for. One that does not run is refused before there are streams, on which upstream would wrap
// the reason in words about internal errors, twice.
func (s *Server) process(w http.ResponseWriter, r *http.Request) (p process, ok bool) {
	t, err := s.cfg.Pods.Running(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return p, false
	}
	return process{s.cfg.Engine, t}, true
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, ok := s.process(w, r)
	if !ok {
		return
	}
	remotecommand.ServeAttach(w, r, p, r.PathValue("pod"), "", r.PathValue("container"), opts,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := forwarder{s.cfg.Pods, r.PathValue("namespace")}
	portforward.ServePortForward(w, r, f, r.PathValue("pod"), "", opts, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}
