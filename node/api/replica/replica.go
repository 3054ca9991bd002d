package replica

import (
	"context"
	"log/slog"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Config of a Replica. Store is required; without Lens everything is shown as it is stored, without Seals nothing is
// sealed.
type Config struct {
	Store      Store
	Lens       Lens
	Seals      map[string]Seal // by kind
	Hosts      Hosts           // of pods; see there
	CacheBytes int             // bound of the cache of decoded objects, in bytes of their encoded form; 0: 16 MiB
	Log        *slog.Logger
}

// Replica serves every kind of the API from one store. It is safe for concurrent use and starts nothing.
type Replica struct {
	Config
	cache   *decodedCache
	stripes *stripes

	life context.Context // ends when the store does not change any more
	end  context.CancelFunc
	next Successor // from then on
}

// New makes a Replica.
func New(cfg Config) *Replica {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 16 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Replica{Config: cfg, cache: newDecodedCache(cfg.CacheBytes), stripes: newStripes()}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// KindOf is the store's name of a resource: "core/pods", "apps/deployments".
func KindOf(gr schema.GroupResource) string {
	if gr.Group == "" {
		return "core/" + gr.Resource
	}
	return gr.Group + "/" + gr.Resource
}

// Prefix is the root of a resource's storage keys.
func Prefix(gr schema.GroupResource) string { return "/" + KindOf(gr) }

// Decorate is a generic.StorageDecorator. The resource prefix must be Prefix of the resource.
func (r *Replica) Decorate(config *storagebackend.ConfigForResource, prefix string, _ func(runtime.Object) (string, error),
	newObject, newList func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	return r.Kind(KindOf(config.GroupResource), prefix, config.Codec, newObject), func() {}, nil
}

// Kind is the storage of one kind. Storage keys are prefix/namespace/name or prefix/name.
func (r *Replica) Kind(name, prefix string, codec runtime.Codec, newObject func() runtime.Object) *Kind {
	k := &Kind{replica: r, name: name, prefix: strings.TrimSuffix(prefix, "/") + "/", codec: codec, newObject: newObject, seal: r.Seals[name], part: store.Status}
	if name == "core/pods" || name == "core/nodes" {
		k.part = store.Observation
	}
	k.hasStatus = statusOf(newObject()).IsValid()
	return k
}

// Kind implements storage.Interface for the objects of one kind.
type Kind struct {
	replica   *Replica
	name      string
	prefix    string // ends with '/'
	codec     runtime.Codec
	newObject func() runtime.Object
	seal      Seal
	part      store.Part // where the status goes
	hasStatus bool
	versioner storage.APIObjectVersioner
	keepUIDs  bool // tests only: the contract suite brings its own
}

var _ storage.Interface = (*Kind)(nil)
