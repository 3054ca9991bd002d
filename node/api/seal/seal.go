// Package seal encrypts the bodies of Secrets before they reach the store: AES-GCM with a key of its own for every
// message (upstream's extended nonce scheme), bound to the object's name, so that one Secret's bytes put in another's
// place do not open. The keys are the mesh's and lie outside of the database.
package seal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/aes"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Ring seals with its first key and opens with any. It is safe for concurrent use.
type Ring struct {
	mu   sync.RWMutex // guards ring
	ring value.Transformer
}

// New makes a Ring of keys of 32 bytes.
func New(keys [][]byte) (*Ring, error) {
	r := &Ring{}
	return r, r.Set(keys)
}

// Set replaces the keys, for example after a rotation put a new one in front.
func (r *Ring) Set(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("no key for Secrets at rest: the mesh's key file is incomplete")
	}
	var all []value.PrefixTransformer
	for i, key := range keys {
		if len(key) != 32 {
			return fmt.Errorf("key %d for Secrets at rest has %d bytes, want 32", i+1, len(key))
		}
		t, err := aes.NewHKDFExtendedNonceGCMTransformer(key)
		if err != nil {
			return fmt.Errorf("key %d for Secrets at rest: %w", i+1, err)
		}
		all = append(all, value.PrefixTransformer{Prefix: []byte(prefix(key)), Transformer: t})
	}
	ring := value.NewPrefixTransformers(errors.New("no key of this node opens it: has a rotation not reached this node yet?"), all...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring = ring
	return nil
}

// prefix names a key in what it sealed without telling anything of it.
func prefix(key []byte) string {
	h := sha256.Sum256(append([]byte("orpheus secrets key "), key...))
	return "orpheus:aesgcm:" + hex.EncodeToString(h[:6]) + ":"
}

func (r *Ring) now() value.Transformer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ring
}

// Close seals a body for its place.
func (r *Ring) Close(k store.Key, plain []byte) ([]byte, error) {
	return r.now().TransformToStorage(context.Background(), plain, place(k))
}

// Open is the inverse of Close; stale tells that it was not sealed with the first key.
func (r *Ring) Open(k store.Key, sealed []byte) (plain []byte, stale bool, err error) {
	return r.now().TransformFromStorage(context.Background(), sealed, place(k))
}

func place(k store.Key) value.Context {
	return value.DefaultContext(k.Kind + "/" + k.Namespace + "/" + k.Name)
}
