package replica

import (
	"bytes"
	"context"
	"hash/maphash"
	"sync"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// stripes serialise the status writes of this process, key by key: the store takes the newest status without asking what
// it was made from, and two updates of one status must not lose each other's part of it. Keys that share a stripe only
// wait for one another.
type stripes struct {
	seed maphash.Seed
	mu   [512]sync.Mutex
}

func newStripes() *stripes { return &stripes{seed: maphash.MakeSeed()} }

func (s *stripes) of(k store.Key) *sync.Mutex {
	return &s.mu[maphash.Comparable(s.seed, k)%uint64(len(s.mu))]
}

// writeStatus writes a status that was made from base. Changes of the intent since then are no conflict.
func (k *Kind) writeStatus(ctx context.Context, base *store.Object, body []byte) (*store.Object, error) {
	mu := k.replica.stripes.of(base.Key)
	mu.Lock()
	defer mu.Unlock()
	now, _ := k.replica.Store.Get(base.Key)
	switch {
	case now == nil || now.UID != base.UID:
		return nil, store.ErrGone
	case !bytes.Equal(now.Bodies[k.part], base.Bodies[k.part]):
		return nil, store.ErrConflict
	}
	return k.write(ctx, store.Write{Key: base.Key, Part: k.part, Body: body, Base: now})
}
