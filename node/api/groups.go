package api

import (
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/apis/core"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
	admissionregistrationrest "k8s.io/kubernetes/pkg/registry/admissionregistration/rest"
	appsrest "k8s.io/kubernetes/pkg/registry/apps/rest"
	authenticationrest "k8s.io/kubernetes/pkg/registry/authentication/rest"
	authorizationrest "k8s.io/kubernetes/pkg/registry/authorization/rest"
	autoscalingrest "k8s.io/kubernetes/pkg/registry/autoscaling/rest"
	batchrest "k8s.io/kubernetes/pkg/registry/batch/rest"
	coordinationrest "k8s.io/kubernetes/pkg/registry/coordination/rest"
	endpointsstore "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	limitrangestore "k8s.io/kubernetes/pkg/registry/core/limitrange/storage"
	nodestore "k8s.io/kubernetes/pkg/registry/core/node/storage"
	pvstore "k8s.io/kubernetes/pkg/registry/core/persistentvolume/storage"
	pvcstore "k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim/storage"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	podtemplatestore "k8s.io/kubernetes/pkg/registry/core/podtemplate/storage"
	controllerstore "k8s.io/kubernetes/pkg/registry/core/replicationcontroller/storage"
	corerest "k8s.io/kubernetes/pkg/registry/core/rest"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	servicestore "k8s.io/kubernetes/pkg/registry/core/service/storage"
	serviceaccountstore "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"
	discoveryrest "k8s.io/kubernetes/pkg/registry/discovery/rest"
	eventsrest "k8s.io/kubernetes/pkg/registry/events/rest"
	networkingrest "k8s.io/kubernetes/pkg/registry/networking/rest"
	noderest "k8s.io/kubernetes/pkg/registry/node/rest"
	policyrest "k8s.io/kubernetes/pkg/registry/policy/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	storagerest "k8s.io/kubernetes/pkg/registry/storage/rest"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// provider is upstream's shape of a group's registries.
type provider interface {
	GroupName() string
	NewRESTStorage(serverstorage.APIResourceConfigSource, generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error)
}

// groups are the API groups that are served, core first. Their post-start hooks are not used: bootstrap does that work
// without keeping readiness back.
func (s *Server) groups(cp *genericapiserver.Config, client kubernetes.Interface, inf informers.SharedInformerFactory, sf serverstorage.StorageFactory) []provider {
	auth := cp.Authorization.Authorizer
	return []provider{
		&coreGroup{server: s, cp: cp, client: client, inf: inf, sf: sf},
		authenticationrest.RESTStorageProvider{Authenticator: cp.Authentication.Authenticator, APIAudiences: cp.Authentication.APIAudiences},
		authorizationrest.RESTStorageProvider{Authorizer: auth, RuleResolver: cp.RuleResolver},
		autoscalingrest.RESTStorageProvider{},
		batchrest.RESTStorageProvider{},
		coordinationrest.RESTStorageProvider{},
		discoveryrest.StorageProvider{},
		networkingrest.RESTStorageProvider{},
		noderest.RESTStorageProvider{},
		policyrest.RESTStorageProvider{},
		rbacrest.RESTStorageProvider{Authorizer: auth},
		schedulingrest.RESTStorageProvider{},
		storagerest.RESTStorageProvider{},
		appsrest.StorageProvider{},
		admissionregistrationrest.RESTStorageProvider{Authorizer: auth, DiscoveryClient: client.Discovery()},
		eventsrest.RESTStorageProvider{TTL: eventLife},
	}
}

// eventLife is what registries tell the storage about events; the store's own bound on Ephemeral kinds rules.
const eventLife = time.Hour

// tokenLife bounds what a TokenRequest may ask for.
const tokenLife = 365 * 24 * time.Hour

// coreGroup is upstream's legacy provider with allocators that need no etcd and a way to the nodes' streaming servers.
type coreGroup struct {
	server *Server
	cp     *genericapiserver.Config
	client kubernetes.Interface
	inf    informers.SharedInformerFactory
	sf     serverstorage.StorageFactory
}

func (*coreGroup) GroupName() string { return "" }

// shelf collects the registries of a group and the first error.
type shelf struct {
	on  map[string]rest.Storage
	err error
}

func (s *shelf) put(err error, storages map[string]rest.Storage) {
	if s.err != nil || err != nil {
		if s.err == nil {
			s.err = err
		}
		return
	}
	for name, st := range storages {
		s.on[name] = st
	}
}

// NewRESTStorage implements provider.
func (g *coreGroup) NewRESTStorage(src serverstorage.APIResourceConfigSource, get generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error) {
	base := corerest.GenericConfig{StorageFactory: g.sf, EventTTL: eventLife, LoopbackClientConfig: g.cp.LoopbackClientConfig, Informers: g.inf}
	info, err := base.NewRESTStorage(src, get)
	if err != nil {
		return info, err
	}
	on := &shelf{on: info.VersionedResourcesStorageMap["v1"]}
	g.plain(on, get)
	g.volumes(on, get)
	g.workloads(on, get)
	return info, on.err
}

func (g *coreGroup) plain(on *shelf, get generic.RESTOptionsGetter) {
	pt, err := podtemplatestore.NewREST(get)
	on.put(err, map[string]rest.Storage{"podtemplates": pt})
	lr, err := limitrangestore.NewREST(get)
	on.put(err, map[string]rest.Storage{"limitranges": lr})
	rc, err := controllerstore.NewStorage(get)
	on.put(err, map[string]rest.Storage{
		"replicationcontrollers": rc.Controller, "replicationcontrollers/status": rc.Status, "replicationcontrollers/scale": rc.Scale,
	})
}

func (g *coreGroup) volumes(on *shelf, get generic.RESTOptionsGetter) {
	pv, pvStatus, err := pvstore.NewREST(get)
	on.put(err, map[string]rest.Storage{"persistentvolumes": pv, "persistentvolumes/status": pvStatus})
	pvc, pvcStatus, err := pvcstore.NewREST(get)
	on.put(err, map[string]rest.Storage{"persistentvolumeclaims": pvc, "persistentvolumeclaims/status": pvcStatus})
}

func (g *coreGroup) workloads(on *shelf, get generic.RESTOptionsGetter) {
	nodes, err := nodestore.NewStorage(get, kubeletclient.KubeletClientConfig{PreferredAddressTypes: []string{"InternalIP"}}, nil)
	if err != nil {
		on.put(err, nil)
		return
	}
	nodes.Proxy.Connection = g.server.streams
	pods, err := podstore.NewStorage(get, g.server.streams, nil, g.client.PolicyV1(), g.cp.Authorization.Authorizer)
	if err != nil {
		on.put(err, nil)
		return
	}
	on.put(nil, map[string]rest.Storage{
		"nodes": nodes.Node, "nodes/status": nodes.Status, "nodes/proxy": nodes.Proxy,
		"pods": pods.Pod, "pods/attach": pods.Attach, "pods/status": pods.Status, "pods/log": pods.Log, "pods/exec": pods.Exec,
		"pods/portforward": pods.PortForward, "pods/proxy": pods.Proxy, "pods/binding": pods.Binding, "bindings": pods.LegacyBinding,
		"pods/eviction": pods.Eviction, "pods/ephemeralcontainers": pods.EphemeralContainers, "pods/resize": pods.Resize,
	})
	g.services(on, get, pods.Pod)
	g.accounts(on, get, pods.Pod.Store, nodes.Node.Store)
}

func (g *coreGroup) services(on *shelf, get generic.RESTOptionsGetter, pods servicestore.PodStorage) {
	cfg := &g.server.cfg
	endpoints, err := endpointsstore.NewREST(get)
	if err != nil {
		on.put(err, nil)
		return
	}
	// One IPAddress object claims one address; upstream's loop behind it follows the ServiceCIDRs.
	networks := g.inf.Networking().V1()
	addrs, err := ipallocator.NewMetaAllocator(g.client.NetworkingV1(), networks.ServiceCIDRs(), networks.IPAddresses(), false, nil)
	if err != nil {
		on.put(fmt.Errorf("allocate service addresses: %w", err), nil)
		return
	}
	g.server.land = &land{server: g.server, addrs: addrs, ports: &portClaims{store: cfg.Store, ports: cfg.NodePorts, node: cfg.Node}}
	svc, status, proxy, err := servicestore.NewREST(get, core.IPv4Protocol, map[core.IPFamily]ipallocator.Interface{core.IPv4Protocol: addrs},
		g.server.land.ports, endpoints, pods, nil)
	on.put(err, map[string]rest.Storage{"services": svc, "services/status": status, "services/proxy": proxy, "endpoints": endpoints})
}

// accounts replaces the plain ServiceAccount registry by one that issues tokens bound to pods, Secrets and nodes, and
// tells the authenticator where to look these up.
func (g *coreGroup) accounts(on *shelf, get generic.RESTOptionsGetter, pods, nodes rest.Getter) {
	cfg := &g.server.cfg
	sign, err := serviceaccount.JWTTokenGenerator(cfg.issuer(), cfg.TokenKey)
	if err != nil {
		on.put(fmt.Errorf("sign ServiceAccount tokens: %w", err), nil)
		return
	}
	secrets, ok := on.on["secrets"].(rest.Getter)
	if !ok {
		on.put(fmt.Errorf("the registry of Secrets can't be read: %T", on.on["secrets"]), nil)
		return
	}
	sa, err := serviceaccountstore.NewREST(get, sign, g.cp.Authentication.APIAudiences, tokenLife, pods, secrets, nodes, false, tokenLife)
	if err != nil {
		on.put(err, nil)
		return
	}
	on.put(nil, map[string]rest.Storage{"serviceaccounts": sa, "serviceaccounts/token": sa.Token})
	g.server.bindings.from.Store(&map[string]rest.Getter{"serviceaccounts": sa, "pods": pods, "nodes": nodes, "secrets": secrets})
}
