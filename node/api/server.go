package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/capabilities"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/kubeapiserver"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/lens"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
	"github.com/orpheus-mesh/orpheus/node/api/seal"
	"github.com/orpheus-mesh/orpheus/node/tenure"
)

// Version is the release of Kubernetes whose API this is.
const Version = "1.36.3"

// Server is one node's API server.
type Server struct {
	cfg       Config
	ca        *authority
	serving   *renewing // what clients of this server see
	streaming *renewing // what this server shows to the nodes' streaming servers
	seal      *seal.Ring
	replica   *replica.Replica
	loop      *loopback
	streams   *streams
	bindings  *bindings
	tokens    authenticator.Token // by what is known here
	generic   *genericapiserver.GenericAPIServer
	secure    *genericapiserver.SecureServingInfo
	client    *kubernetes.Clientset
	inf       informers.SharedInformerFactory
	land      *land
	keeper    *keeper
	ready     chan struct{}
	ended     signal // of Run
	dismissed signal // watches of strangers

	kinds map[string]*replica.Kind // filled by New, then only read
}

// New builds a server and starts nothing. The configuration is checked as a whole.
func New(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("configure the API: %w", err)
	}
	s := &Server{cfg: cfg, loop: newLoopback(), bindings: &bindings{}, ready: make(chan struct{}), ended: newSignal(), dismissed: newSignal(),
		kinds: map[string]*replica.Kind{}}
	if err := s.credentials(); err != nil {
		return nil, err
	}
	s.replica = replica.New(replica.Config{
		Store: cfg.Store, Lens: lens.Lens{Live: cfg.Live}, Seals: map[string]replica.Seal{secretKind: s.seal}, Hosts: remarks{s}, Log: cfg.Log,
	})
	if err := s.build(); err != nil {
		return nil, fmt.Errorf("build the API: %w", err)
	}
	s.keeper = newKeeper(cfg.Store, s.land, cfg.Mine, cfg.Sure, cfg.Log)
	return s, nil
}

func (s *Server) credentials() (err error) {
	if s.ca, err = newAuthority(s.cfg.Keys.CACert, s.cfg.Keys.CAKey); err != nil {
		return err
	}
	if s.serving, err = newRenewing("api-serving", func() ([]byte, []byte, error) { return s.ca.serving(&s.cfg) }); err != nil {
		return err
	}
	if s.streaming, err = newRenewing("api-streaming", func() ([]byte, []byte, error) {
		return s.ca.client("orpheus-api", []string{"system:masters"})
	}); err != nil {
		return err
	}
	s.streams = newStreams(&s.cfg, s.ca, s.streaming)
	s.seal, err = seal.New(s.cfg.Keys.Secrets)
	return err
}

// build puts upstream's server together: configuration, admission, registries.
func (s *Server) build() error {
	// Upstream's validation asks the process whether privileged containers are allowed. They are, as on every cluster that runs agents of
	// its hosts; who may create such pods is a matter of roles.
	capabilities.Setup(true, 0)
	cp := genericapiserver.NewConfig(legacyscheme.Codecs)
	s.configure(cp)
	var err error
	if s.client, err = kubernetes.NewForConfig(cp.LoopbackClientConfig); err != nil {
		return err
	}
	s.inf = informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(trim))
	sf, err := storageFactory(cp)
	if err != nil {
		return err
	}
	cp.RESTOptionsGetter = shelves{s, sf}
	if err := s.authenticate(cp); err != nil {
		return err
	}
	if err := authorize(cp, s.inf); err != nil {
		return err
	}
	if err := s.admit(cp, s.inf, s.client); err != nil {
		return err
	}
	if s.generic, err = cp.Complete(s.inf).New("orpheus", genericapiserver.NewEmptyDelegate()); err != nil {
		return err
	}
	s.generic.ShutdownTimeout = shutdownTimeout
	s.secure = cp.SecureServing
	return s.install(cp, sf)
}

const (
	shutdownTimeout = 300 * time.Millisecond // for clients to take leave; short answers have been given by then, long ones may outlive it
	requestTimeout  = 60 * time.Second
)

func (s *Server) configure(cp *genericapiserver.Config) {
	cp.EffectiveVersion = release{basecompatibility.NewEffectiveVersionFromString(Version, "", "")}
	cp.RequestInfoResolver = genericapiserver.NewRequestInfoResolver(cp)
	cp.SecureServing = &genericapiserver.SecureServingInfo{Cert: s.serving, MinTLSVersion: tls.VersionTLS12}
	_, port, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		port = "6443"
	}
	cp.ExternalAddress = net.JoinHostPort(s.cfg.Advertise.String(), port)
	cp.PublicAddress = s.cfg.Advertise.AsSlice()
	cp.LoopbackClientConfig = s.loop.config()
	cp.RequestTimeout = requestTimeout
	cp.EnableProfiling = false
	cp.FlowControl = nil // in-flight bounds alone; a node serves few clients
	cp.LongRunningFunc = filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	cp.BuildHandlerChainFunc = func(next http.Handler, c *genericapiserver.Config) http.Handler {
		return genericapiserver.DefaultBuildHandlerChain(s.lasting(next, c.LongRunningFunc), c)
	}
	cp.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	defs := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme)
	cp.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(defs, namer)
	cp.OpenAPIConfig.Info.Title = "Kubernetes"
	cp.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(defs, namer)
	cp.OpenAPIV3Config.Info.Title = "Kubernetes"
	cp.MergedResourceConfig = stable()
}

// unserved are the groups of the scheme that have no registry here. Plugins must not wait for their informers.
var unserved = sets.New("resource.k8s.io", "certificates.k8s.io", "flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io",
	"storagemigration.k8s.io", "imagepolicy.k8s.io", "extensions")

// stable enables the versions that upstream calls stable, of all groups that are served.
func stable() *serverstorage.ResourceConfig {
	c := serverstorage.NewResourceConfig()
	for _, gv := range legacyscheme.Scheme.PrioritizedVersionsAllGroups() {
		if unserved.Has(gv.Group) {
			continue
		}
		if !strings.Contains(gv.Version, "alpha") && !strings.Contains(gv.Version, "beta") {
			c.EnableVersions(gv)
		}
	}
	return c
}

func storageFactory(cp *genericapiserver.Config) (*serverstorage.DefaultStorageFactory, error) {
	etcd := genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig("/", nil))
	etcd.DefaultStorageMediaType = runtime.ContentTypeProtobuf
	c := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(cp.EffectiveVersion)
	c.APIResourceConfig = cp.MergedResourceConfig
	return c.Complete(etcd).New()
}

// trim takes from informers' objects what no plugin reads.
func trim(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}

// shelves gives every registry its storage on the replica.
type shelves struct {
	s  *Server
	sf *serverstorage.DefaultStorageFactory
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (g shelves) GetRESTOptions(gr schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	cfg, err := g.sf.NewConfig(gr, example)
	if err != nil {
		return generic.RESTOptions{}, err
	}
	return generic.RESTOptions{
		StorageConfig: cfg, Decorator: g.decorate, EnableGarbageCollection: true, DeleteCollectionWorkers: 4, ResourcePrefix: replica.Prefix(gr),
	}, nil
}

func (g shelves) decorate(config *storagebackend.ConfigForResource, prefix string, keyFunc func(runtime.Object) (string, error),
	newObject, newList func() runtime.Object, attrs storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	i, destroy, err := g.s.replica.Decorate(config, prefix, keyFunc, newObject, newList, attrs, triggers, indexers)
	if k, ok := i.(*replica.Kind); ok {
		g.s.kinds[replica.KindOf(config.GroupResource)] = k
	}
	return i, destroy, err
}

func (s *Server) install(cp *genericapiserver.Config, sf *serverstorage.DefaultStorageFactory) error {
	var named []*genericapiserver.APIGroupInfo
	for _, p := range s.groups(cp, s.client, s.inf, sf) {
		info, err := p.NewRESTStorage(cp.MergedResourceConfig, cp.RESTOptionsGetter)
		if err != nil {
			return fmt.Errorf("group %q: %w", p.GroupName(), err)
		}
		if len(info.VersionedResourcesStorageMap) == 0 {
			continue
		}
		if p.GroupName() != "" {
			named = append(named, &info)
			continue
		}
		if err := s.generic.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &info); err != nil {
			return fmt.Errorf("group core: %w", err)
		}
	}
	s.generic.Handler.NonGoRestfulMux.UnlistedHandle(customResources, http.HandlerFunc(noCustomResources))
	return s.generic.InstallAPIGroups(named...)
}

// Ready is closed when the server answers and its first objects are there.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Loopback is how the rooms of this process reach the API: in memory, as system:masters, taken for a machine by the
// store, without a rate limit. Callers may change their copy, for example to impersonate a controller.
func (s *Server) Loopback() *rest.Config { return s.loop.config() }

// Key is the store's name of an API object.
func (s *Server) Key(gr schema.GroupResource, namespace, name string) store.Key {
	return store.Key{Kind: replica.KindOf(gr), Namespace: namespace, Name: name}
}

// Run serves until ctx ends or something fails. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	ln := s.cfg.Listener
	if ln == nil {
		var err error
		if ln, err = s.cfg.Open(ctx, "tcp", s.cfg.Listen); err != nil {
			return fmt.Errorf("serve the API: %w", err)
		}
	}
	s.secure.Listener = ln
	defer ln.Close()
	prepared := s.generic.PrepareRun()
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, s.end)()
	g.Go(func() error { return s.loop.serve(ctx, s.generic.Handler) })
	g.Go(func() error {
		if err := prepared.RunWithContext(ctx); err != nil {
			return fmt.Errorf("serve the API: %w", err)
		}
		return ctx.Err()
	})
	g.Go(func() error { return s.keepCertificates(ctx) })
	touch := &lens.Toucher{Store: s.cfg.Store, Live: s.cfg.Live, Wake: s.cfg.Changed, HostOf: s.hostOf, Log: s.cfg.Log}
	g.Go(func() error { return touch.Run(ctx) })
	g.Go(func() error { return s.keepServices(ctx) })
	g.Go(func() error { return remarks{s}.run(ctx) })
	var once sync.Once
	g.Go(func() error { return s.bootstrap(ctx, func() { once.Do(func() { close(s.ready) }) }) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// end has those watches end that do not outlive Run.
func (s *Server) end() {
	s.ended.fire()
	if !s.cfg.Spare() {
		s.dismissed.fire()
	}
}

// hostOf names the host of a stored pod.
func (s *Server) hostOf(o *store.Object) string {
	obj, err := s.kinds["core/pods"].Object(o)
	if err != nil {
		return ""
	}
	if pod, ok := obj.(*core.Pod); ok {
		return pod.Spec.NodeName
	}
	return ""
}

// keepServices looks after addresses and node ports as soon as the first objects are there: the network of addresses among them.
func (s *Server) keepServices(ctx context.Context) error {
	news := record.NewBroadcaster(record.WithContext(ctx))
	defer news.Shutdown()
	news.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: s.client.CoreV1().Events("")})
	s.land.events = news.NewRecorder(clientscheme.Scheme, v1.EventSource{Component: "orpheus", Host: s.cfg.Node})
	select {
	case <-s.ready:
		return s.keeper.run(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Disputes are the addresses and node ports that people asked for on two sides of a partition, which wait for a person. They are in no
// order.
func (s *Server) Disputes() []tenure.Dispute { return s.keeper.disputes() }
