package replica_test

import (
	"context"
	"fmt"
	goruntime "runtime"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	suite "k8s.io/apiserver/pkg/storage/testing"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/internal/memory"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

// bench is one fresh storage and what the suite needs to do behind its back.
type bench struct {
	storage.Interface
	mem *memory.Store // nil over the replicated store
	st  replica.Store
	r   *replica.Replica
}

// inMemory is the store that can be compacted.
func inMemory(*testing.T) replica.Store { return memory.New() }

// onDisk is the replicated store of a mesh of one.
func onDisk(t *testing.T) replica.Store {
	t.Helper()
	s, err := store.Open(store.Config{Dir: t.TempDir(), Self: "me"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	for probe := (store.Write{Key: store.Key{Kind: "other/things", Name: "probe"}}); ; goruntime.Gosched() {
		if _, err := s.Write(ctx, probe); err == nil {
			return replica.Over(s)
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func newBench(t *testing.T, st replica.Store, whole bool) bench {
	t.Helper()
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	for _, add := range []func(*runtime.Scheme) error{example.AddToScheme, examplev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	mem, _ := st.(*memory.Store)
	codec := serializer.NewCodecFactory(scheme).LegacyCodec(examplev1.SchemeGroupVersion)
	r := replica.New(replica.Config{Store: st})
	k := r.Kind("example.io/pods", "/pods", codec, func() runtime.Object { return &example.Pod{} })
	k.KeepUIDs()
	if whole {
		k.Whole()
	}
	return bench{k, mem, st, r}
}

func (b bench) compact(_ context.Context, t *testing.T, rv string) {
	v, err := b.Versioner().ParseResourceVersion(rv)
	if err != nil {
		t.Fatal(err)
	}
	b.mem.Compact(store.Revision(v))
}

// compactAndIncrease leaves a new revision behind, as etcd's compaction does.
func (b bench) compactAndIncrease(ctx context.Context, t *testing.T, rv string) {
	b.compact(ctx, t, rv)
	b.increase(ctx, t)
}

func (b bench) increase(ctx context.Context, t *testing.T) int64 {
	o, err := b.st.Write(ctx, store.Write{Key: store.Key{Kind: "other/things", Name: fmt.Sprint(b.st.Rev())}, Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	return int64(o.Rev)
}

// TestUpstreamContract runs upstream's own suite for storage backends. Left out are the cases that need etcd's time to
// live, its value transformers or its watch cache.
func TestUpstreamContract(t *testing.T) {
	anyKey := func(context.Context, *testing.T, string) {}
	anyCalls := func(*testing.T, uint64, uint64) {}
	// These compact the store at a revision, or use objects without a name.
	memoryOnly := sets.New("List", "ListInconsistentContinuation", "WatchFromZero", "KeySchema")
	type T = *testing.T
	type C = context.Context
	for name, run := range map[string]func(C, T, bench){
		"Create":                          func(c C, t T, b bench) { suite.RunTestCreate(c, t, b, anyKey) },
		"CreateWithKeyExist":              func(c C, t T, b bench) { suite.RunTestCreateWithKeyExist(c, t, b) },
		"Get":                             func(c C, t T, b bench) { suite.RunTestGet(c, t, b) },
		"UnconditionalDelete":             func(c C, t T, b bench) { suite.RunTestUnconditionalDelete(c, t, b) },
		"ConditionalDelete":               func(c C, t T, b bench) { suite.RunTestConditionalDelete(c, t, b) },
		"DeleteWithSuggestion":            func(c C, t T, b bench) { suite.RunTestDeleteWithSuggestion(c, t, b) },
		"DeleteWithSuggestionAndConflict": func(c C, t T, b bench) { suite.RunTestDeleteWithSuggestionAndConflict(c, t, b) },
		"DeleteWithConflict":              func(c C, t T, b bench) { suite.RunTestDeleteWithConflict(c, t, b) },
		"DeleteOfDeleted":                 func(c C, t T, b bench) { suite.RunTestDeleteWithSuggestionOfDeletedObject(c, t, b) },
		"ValidateDeletion":                func(c C, t T, b bench) { suite.RunTestValidateDeletionWithSuggestion(c, t, b) },
		"PreconditionalDelete":            func(c C, t T, b bench) { suite.RunTestPreconditionalDeleteWithSuggestion(c, t, b) },
		"List":                            func(c C, t T, b bench) { suite.RunTestList(c, t, b, b.compactAndIncrease, false, nil) },
		"ConsistentList":                  func(c C, t T, b bench) { suite.RunTestConsistentList(c, t, b, b.increase, false, true, false) },
		"GetListNonRecursive":             func(c C, t T, b bench) { suite.RunTestGetListNonRecursive(c, t, b.increase, b) },
		"GetListRecursivePrefix":          func(c C, t T, b bench) { suite.RunTestGetListRecursivePrefix(c, t, b) },
		"ListContinuation":                func(c C, t T, b bench) { suite.RunTestListContinuation(c, t, b, anyCalls) },
		"ListPaginationRareObject":        func(c C, t T, b bench) { suite.RunTestListPaginationRareObject(c, t, b, anyCalls) },
		"ListContinuationWithFilter":      func(c C, t T, b bench) { suite.RunTestListContinuationWithFilter(c, t, b, anyCalls) },
		"ListInconsistentContinuation":    func(c C, t T, b bench) { suite.RunTestListInconsistentContinuation(c, t, b, b.compact) },
		"ListPaging":                      func(c C, t T, b bench) { suite.RunTestListPaging(c, t, b) },
		"NamespaceScopedList":             func(c C, t T, b bench) { suite.RunTestNamespaceScopedList(c, t, b) },
		"UpdateWithConflict":              func(c C, t T, b bench) { suite.RunTestGuaranteedUpdateWithConflict(c, t, b) },
		"UpdateWithSuggestionAndConflict": func(c C, t T, b bench) { suite.RunTestGuaranteedUpdateWithSuggestionAndConflict(c, t, b) },
		"KeySchema":                       func(c C, t T, b bench) { suite.RunTestKeySchema(c, t, b) },
		"Watch":                           func(c C, t T, b bench) { suite.RunTestWatch(c, t, b) },
		"WatchFromZero":                   func(c C, t T, b bench) { suite.RunTestWatchFromZero(c, t, b, b.compact) },
		"DeleteTriggerWatch":              func(c C, t T, b bench) { suite.RunTestDeleteTriggerWatch(c, t, b) },
		"WatchFromNonZero":                func(c C, t T, b bench) { suite.RunTestWatchFromNonZero(c, t, b) },
		"DelayedWatchDelivery":            func(c C, t T, b bench) { suite.RunTestDelayedWatchDelivery(c, t, b) },
		"WatchContextCancel":              func(c C, t T, b bench) { suite.RunTestWatchContextCancel(c, t, b) },
		"WatchDeleteHasLatestRV":          func(c C, t T, b bench) { suite.RunTestWatchDeleteEventObjectHaveLatestRV(c, t, b) },
		"WatchInitializationSignal":       func(c C, t T, b bench) { suite.RunTestWatchInitializationSignal(c, t, b) },
		"ClusterScopedWatch":              func(c C, t T, b bench) { suite.RunTestClusterScopedWatch(c, t, b) },
		"NamespaceScopedWatch":            func(c C, t T, b bench) { suite.RunTestNamespaceScopedWatch(c, t, b) },
	} {
		t.Run(name, func(t *testing.T) { run(t.Context(), t, newBench(t, inMemory(t), true)) })
		if name == "ClusterScopedWatch" || name == "NamespaceScopedWatch" {
			continue // they count the events of writes of both parts
		}
		t.Run(name+"InParts", func(t *testing.T) { run(t.Context(), t, newBench(t, inMemory(t), false)) })
		if !memoryOnly.Has(name) {
			t.Run(name+"OnDisk", func(t *testing.T) { run(t.Context(), t, newBench(t, onDisk(t), false)) })
		}
	}
}
