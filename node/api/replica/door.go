package replica

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Store is what the API needs of the replicated store. Objects that it hands out are shared and immutable.
type Store interface {
	Get(k store.Key) (*store.Object, store.Revision)
	List(sel store.Selector, o store.ListOptions) ([]*store.Object, store.Revision, int, error)
	Subscribe(sel store.Selector, from store.Revision, snapshot bool) (Subscription, error)
	Rev() store.Revision
	Write(ctx context.Context, w store.Write) (*store.Object, error)
	Touch(keys ...store.Key)
	Tombstoned(uid string) bool
}

// Subscription is a snapshot, where one was asked for, and every later event without a gap.
type Subscription struct {
	Initial []*store.Object
	Rev     store.Revision // the snapshot's
	Events
}

// Events blocks in Next until there are some, ctx ends, or the queue overflowed (store.ErrCompacted).
type Events interface {
	Next(ctx context.Context) ([]store.Event, error)
	Close()
}

// Lens shows objects as they are to be read at this moment. View returns obj itself or a changed copy; it never changes
// obj, which is shared. Restore takes out of written what View put in and the writer sent back unknowingly; stored is
// what View was shown.
type Lens interface {
	View(kind string, obj runtime.Object) runtime.Object
	Restore(kind string, stored, written runtime.Object)
}

// Seal makes bodies unreadable to whoever holds only the disk. The key binds a body to its place.
type Seal interface {
	Close(k store.Key, plain []byte) ([]byte, error)
	Open(k store.Key, sealed []byte) (plain []byte, stale bool, err error) // stale: not under the first key
}
