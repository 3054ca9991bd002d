package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/utils/ptr"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// elderUser is an earlier process of this daemon, which asks on behalf of clients that it still has.
const elderUser = "system:orpheus:elder"

// lasting counts the requests to next that may live on in this process when the server has ended, and tells watches when to end: those of
// strangers when they are dismissed, those of this daemon's own rooms and earlier processes with the server, for they know where to go on.
func (s *Server) lasting(next http.Handler, long request.LongRunningRequestCheck) http.Handler {
	counted := s.cfg.Lasting.Handler(next, func(r *http.Request) bool {
		info, ok := request.RequestInfoFrom(r.Context())
		return ok && long(r, info) && (info.Verb != "watch" || !own(r))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && info.Verb == "watch" {
			end := s.dismissed
			if own(r) {
				end = s.ended
			}
			r = r.WithContext(request.WithServerShutdownSignal(r.Context(), end))
		}
		counted.ServeHTTP(w, r)
	})
}

func own(r *http.Request) bool {
	who, ok := request.UserFrom(r.Context())
	return r.Context().Value(inHouse{}) != nil || ok && who.GetName() == elderUser
}

// signal implements request.ServerShutdownSignal.
type signal struct {
	fired chan struct{}
	once  *sync.Once
}

func newSignal() signal { return signal{make(chan struct{}), new(sync.Once)} }

func (s signal) fire() { s.once.Do(func() { close(s.fired) }) }

// ShuttingDown is closed when it fires.
func (s signal) ShuttingDown() <-chan struct{} { return s.fired }

// Outlive has the watches of strangers go on in this process, from the daemon that listens where this server did. Call it once, when Run
// has returned and the store does not change any more.
func (s *Server) Outlive() error {
	at, err := s.cfg.dialled()
	if err != nil {
		return fmt.Errorf("find the next daemon: %w", err)
	}
	cert, key, err := s.ca.client(elderUser, []string{user.SystemPrivilegedGroup})
	if err != nil {
		return fmt.Errorf("be known to the next daemon: %w", err)
	}
	s.replica.Outlive(&successor{clients: map[schema.GroupVersion]rest.Interface{}, config: rest.Config{
		Host: "https://" + at, QPS: -1, UserAgent: elderUser,
		TLSClientConfig: rest.TLSClientConfig{ServerName: "kubernetes", CAData: s.ca.pem, CertData: cert, KeyData: key},
		ContentConfig: rest.ContentConfig{
			ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf,
			NegotiatedSerializer: legacyscheme.Codecs.WithoutConversion(),
		},
	}})
	return nil
}

// Dismiss ends the watches of strangers. It may be called more than once.
func (s *Server) Dismiss() { s.dismissed.fire() }

// dialled is where this host reaches the server.
func (c *Config) dialled() (string, error) {
	at := c.Listen
	if c.Listener != nil {
		at = c.Listener.Addr().String()
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// successor implements replica.Successor over that daemon's API: what it shows went through its lens and its keys.
type successor struct {
	config rest.Config

	mu      sync.Mutex // guards what follows
	clients map[schema.GroupVersion]rest.Interface
}

// Watch implements replica.Successor.
func (s *successor) Watch(ctx context.Context, sel store.Selector) (watch.Interface, error) {
	gvr, err := resourceOf(sel.Kind)
	if err != nil {
		return nil, err
	}
	client, err := s.client(gvr.GroupVersion())
	if err != nil {
		return nil, err
	}
	opts := metav1.ListOptions{
		Watch: true, SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}
	if sel.Name != "" {
		opts.FieldSelector = "metadata.name=" + sel.Name
	}
	life, err := client.Get().NamespaceIfScoped(sel.Namespace, sel.Namespace != "").Resource(gvr.Resource).
		VersionedParams(&opts, clientscheme.ParameterCodec).Watch(ctx)
	if err != nil {
		return nil, err
	}
	return watch.Filter(life, internal), nil
}

// internal is an event in the registries' words.
func internal(e watch.Event) (watch.Event, bool) {
	if e.Type == watch.Error {
		return e, true
	}
	obj, err := legacyscheme.Scheme.UnsafeConvertToVersion(e.Object, runtime.InternalGroupVersioner)
	if err != nil {
		return watch.Event{Type: watch.Error, Object: &metav1.Status{Message: err.Error()}}, true
	}
	e.Object = obj
	return e, true
}

func (s *successor) client(gv schema.GroupVersion) (rest.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[gv]; ok {
		return c, nil
	}
	cfg := rest.CopyConfig(&s.config)
	cfg.GroupVersion, cfg.APIPath = &gv, "/apis"
	if gv.Group == "" {
		cfg.APIPath = "/api"
	}
	c, err := rest.RESTClientFor(cfg)
	if err == nil {
		s.clients[gv] = c
	}
	return c, err
}

// resourceOf is the reverse of replica.KindOf, in a version that is served.
func resourceOf(kind string) (schema.GroupVersionResource, error) {
	group, resource, _ := strings.Cut(kind, "/")
	if group == "core" {
		group = ""
	}
	served := stable()
	for _, gv := range legacyscheme.Scheme.PrioritizedVersionsForGroup(group) {
		if gvr := gv.WithResource(resource); served.ResourceEnabled(gvr) {
			return gvr, nil
		}
	}
	return schema.GroupVersionResource{}, fmt.Errorf("no version of %s is served", kind)
}
