package api

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	quota "k8s.io/apiserver/pkg/quota/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/apis/core"
	kubeadmission "k8s.io/kubernetes/pkg/kubeapiserver/admission"
	"k8s.io/kubernetes/pkg/kubeapiserver/admission/exclusion"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"
	"k8s.io/kubernetes/plugin/pkg/admission/network/defaultingressclass"
	podpriority "k8s.io/kubernetes/plugin/pkg/admission/priority"
	"k8s.io/kubernetes/plugin/pkg/admission/runtimeclass"
	serviceaccountadmission "k8s.io/kubernetes/plugin/pkg/admission/serviceaccount"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/storageclass/setdefault"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// admit builds the chain of admission plugins. Upstream's order is kept; the guard of the garbage collector is our own.
func (s *Server) admit(cp *genericapiserver.Config, inf informers.SharedInformerFactory, client kubernetes.Interface) error {
	o := genericoptions.NewAdmissionOptions()
	for _, register := range []func(*admission.Plugins){
		limitranger.Register, serviceaccountadmission.Register, podpriority.Register, defaulttolerationseconds.Register,
		setdefault.Register, runtimeclass.Register, defaultingressclass.Register, resourcequota.Register, registerDerivedNames, registerUnkept, s.registerGuard,
	} {
		register(o.Plugins)
	}
	o.RecommendedPluginOrder = []string{
		lifecycle.PluginName, limitranger.PluginName, serviceaccountadmission.PluginName, podpriority.PluginName,
		defaulttolerationseconds.PluginName, setdefault.PluginName, runtimeclass.PluginName, defaultingressclass.PluginName, derivedName, guardName, unkeptName,
		mutatingpolicy.PluginName, mutatingwebhook.PluginName, validatingpolicy.PluginName, validatingwebhook.PluginName, resourcequota.PluginName,
	}
	o.DefaultOffPlugins = sets.New[string]()
	dyn, err := dynamic.NewForConfig(cp.LoopbackClientConfig)
	if err != nil {
		return err
	}
	quotas, err := quotainstall.NewQuotaConfigurationForAdmission(inf, cp.MergedResourceConfig)
	if err != nil {
		return fmt.Errorf("configure quotas: %w", err)
	}
	wrap := webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, cp.LoopbackClientConfig, nil)
	err = o.ApplyTo(cp, inf, client, dyn, utilfeature.DefaultFeatureGate, cp.EffectiveVersion,
		kubeadmission.NewPluginInitializer(), quotaInitializer{quotas}, webhookinit.NewPluginInitializer(wrap, serviceResolver{s}))
	if err != nil {
		return fmt.Errorf("build admission: %w", err)
	}
	return nil
}

// quotaInitializer hands plugins what upstream's control plane would.
type quotaInitializer struct{ quotas quota.Configuration }

// Initialize implements admission.PluginInitializer.
func (q quotaInitializer) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		wants.SetQuotaConfiguration(q.quotas)
	}
	if wants, ok := plugin.(initializer.WantsExcludedAdmissionResources); ok {
		wants.SetExcludedAdmissionResources(exclusion.Excluded())
	}
}

// serviceResolver finds webhooks that are Services by their cluster address, which every node programs: the node itself
// does not resolve names of the mesh.
type serviceResolver struct{ s *Server }

// ResolveEndpoint implements webhook.ServiceResolver.
func (r serviceResolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	o, _ := r.s.cfg.Store.Get(store.Key{Kind: "core/services", Namespace: namespace, Name: name})
	if o == nil {
		return nil, fmt.Errorf("service %s/%s does not exist", namespace, name)
	}
	obj, err := r.s.kinds["core/services"].Object(o)
	if err != nil {
		return nil, err
	}
	svc, ok := obj.(*core.Service)
	if !ok || len(svc.Spec.ClusterIPs) == 0 || svc.Spec.ClusterIPs[0] == core.ClusterIPNone {
		return nil, fmt.Errorf("service %s/%s has no cluster address", namespace, name)
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(svc.Spec.ClusterIPs[0], strconv.Itoa(int(port)))}, nil
}
