package traffic

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/orpheus-mesh/orpheus/ingress"
	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/netmesh/dns"
	"github.com/orpheus-mesh/orpheus/node/tenure"
)

// Sinks take whole pictures. They are called from one goroutine and must not block.
type Sinks struct {
	Services  func([]netmesh.ServicePort)
	Names     func([]dns.Service)
	Routes    func([]ingress.Rule, []ingress.Certificate)
	Ingresses func([]*networkingv1.Ingress) // that are ours; not to be altered
}

// settle is how long events are gathered before the pictures are drawn anew.
const settle = 5 * time.Millisecond

// derivation is how long the first picture waits for endpoint slices: controllers that do not run must not hold up all else.
const derivation = 10 * time.Second

// Translator draws the pictures anew whenever the API's view of them changes.
type Translator struct {
	node      string
	sinks     Sinks
	log       *slog.Logger
	informers []informers.SharedInformerFactory
	services  corelisters.ServiceLister
	slices    discoverylisters.EndpointSliceLister
	ingresses networkinglisters.IngressLister
	classes   networkinglisters.IngressClassLister
	secrets   corelisters.SecretLister
	synced    []cache.InformerSynced
	wake      chan struct{}
	drawn     bool // touched by Run only
}

// New makes a translator for the server with this node name.
func New(client kubernetes.Interface, node string, sinks Sinks, log *slog.Logger) (*Translator, error) {
	slim := informers.WithTransform(stripManaged)
	all := informers.NewSharedInformerFactoryWithOptions(client, 0, slim)
	tls := informers.NewSharedInformerFactoryWithOptions(client, 0, slim, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)).String()
	}))
	t := &Translator{
		node: node, sinks: sinks, log: log, informers: []informers.SharedInformerFactory{all, tls},
		services: all.Core().V1().Services().Lister(), slices: all.Discovery().V1().EndpointSlices().Lister(),
		ingresses: all.Networking().V1().Ingresses().Lister(), classes: all.Networking().V1().IngressClasses().Lister(),
		secrets: tls.Core().V1().Secrets().Lister(), wake: make(chan struct{}, 1),
	}
	for _, i := range []cache.SharedIndexInformer{
		all.Core().V1().Services().Informer(), all.Discovery().V1().EndpointSlices().Informer(),
		all.Networking().V1().Ingresses().Informer(), all.Networking().V1().IngressClasses().Informer(), tls.Core().V1().Secrets().Informer(),
	} {
		if _, err := i.AddEventHandler(t.waker()); err != nil {
			return nil, fmt.Errorf("watch services and ingresses: %w", err)
		}
		t.synced = append(t.synced, i.HasSynced)
	}
	return t, nil
}

func stripManaged(obj any) (any, error) {
	if s, ok := obj.(*corev1.Service); ok {
		tenure.Slim(s)
	} else if m, ok := obj.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return obj, nil
}

func (t *Translator) waker() cache.ResourceEventHandler {
	wake := func() {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: func(any) { wake() }, UpdateFunc: func(_, _ any) { wake() }, DeleteFunc: func(any) { wake() }}
}

// Run draws until ctx ends. Nothing is handed over before every cache is whole: a partial picture would withdraw services. Endpoint slices
// are derived anew in each life of the daemon, so the first picture also waits until every service has its own, 10 s at most.
func (t *Translator) Run(ctx context.Context) error {
	for _, f := range t.informers {
		f.Start(ctx.Done())
		defer f.Shutdown()
	}
	if !cache.WaitForCacheSync(ctx.Done(), t.synced...) {
		return nil
	}
	late := time.NewTimer(derivation)
	defer late.Stop()
	force := false
	for {
		if err := t.draw(force); err != nil {
			t.log.Error("services and routes not updated", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-late.C:
			force = true
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
		select { // what came meanwhile is in the caches already
		case <-t.wake:
		default:
		}
	}
}

func (t *Translator) draw(force bool) error {
	services, err := t.services.List(labels.Everything())
	if err != nil {
		return err
	}
	endpoints, err := t.slices.List(labels.Everything())
	if err != nil {
		return err
	}
	ingresses, err := t.ingresses.List(labels.Everything())
	if err != nil {
		return err
	}
	w := world{node: t.node, services: tenure.Settled(services), slices: bySlice(endpoints)}
	if missing := w.underived(); missing != "" && !t.drawn {
		if !force {
			return nil
		}
		t.log.Warn("services are drawn though not all endpoints are derived yet", "service", missing, "after", derivation)
	}
	t.drawn = true
	t.sinks.Services(w.ports())
	t.sinks.Names(w.names())
	t.sinks.Routes(w.rules(ingresses, t.ours), certificates(ingresses, t.ours, t.secret))
	t.sinks.Ingresses(slices.DeleteFunc(ingresses, func(i *networkingv1.Ingress) bool { return !t.ours(i) }))
	return nil
}

// ours tells whether an ingress is for Orpheus: by its class, or for want of one.
func (t *Translator) ours(ing *networkingv1.Ingress) bool {
	name := deref(ing.Spec.IngressClassName)
	if name == "" {
		name = ing.Annotations["kubernetes.io/ingress.class"]
	}
	if name == "" || name == ClassName {
		return true
	}
	class, err := t.classes.Get(name)
	return err == nil && class.Spec.Controller == ClassController
}

func (t *Translator) secret(namespace, name string) *corev1.Secret {
	s, err := t.secrets.Secrets(namespace).Get(name)
	if err != nil {
		if !errors.IsNotFound(err) {
			t.log.Error("certificate not read", "secret", key(namespace, name), "error", err)
		}
		return nil
	}
	return s
}

func itoa(n int32) string { return strconv.FormatInt(int64(n), 10) }
