package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/amend"
)

// keyring holds the keys of Secrets at rest. Key material never enters the database: the replica carries only which keys
// there are and which one encrypts, by hash, and a server that lacks one asks its peers for it over the mesh's own
// encrypted streams. The file is beside the database, mode 0600.
type keyring struct {
	mesh *gossip.Mesh
	file string
	use  func([][]byte) error // the first encrypts, all decrypt
	log  *slog.Logger

	mu   sync.Mutex        // guards keys
	keys map[string][]byte // by ID
}

const (
	keyringProtocol = "/orpheus/keyring/1"
	keyringFile     = "keyring.json"
	keyBytes        = 32
	keyTimeout      = 5 * time.Second
)

var keyringKey = store.Key{Kind: "mesh/keyrings", Name: "secrets"}

// keyringRecord is what the replica knows of the ring: the IDs of all keys, the encrypting one first.
type keyringRecord struct {
	IDs []string `json:"ids"`
}

// keyMessage asks for a key, or with Key hands one over.
type keyMessage struct {
	ID  string `json:"id"`
	Key []byte `json:"key,omitempty"`
}

func keyID(key []byte) string {
	h := sha256.Sum256(append([]byte("orpheus secrets key "), key...))
	return hex.EncodeToString(h[:8])
}

func openKeyring(mesh *gossip.Mesh, dir string, use func([][]byte) error, log *slog.Logger) (*keyring, error) {
	k := &keyring{mesh: mesh, file: filepath.Join(dir, keyringFile), use: use, log: log, keys: map[string][]byte{}}
	for _, key := range mesh.Keys().Secrets {
		k.keys[keyID(key)] = key
	}
	b, err := os.ReadFile(k.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the keys of secrets: %w", err)
	}
	var saved [][]byte
	if len(b) > 0 {
		if err := json.Unmarshal(b, &saved); err != nil {
			return nil, fmt.Errorf("read the keys of secrets in %s: %w", k.file, err)
		}
	}
	for _, key := range saved {
		k.keys[keyID(key)] = key
	}
	mesh.Serve(keyringProtocol, k.answer)
	return k, nil
}

// answer gives a key to an admitted peer that lacks it, or takes one.
func (k *keyring) answer(_ context.Context, from gossip.ID, req []byte) ([]byte, error) {
	var m keyMessage
	if err := json.Unmarshal(req, &m); err != nil {
		return nil, fmt.Errorf("read the request for a key: %w", err)
	}
	if m.Key != nil {
		if len(m.Key) != keyBytes || keyID(m.Key) != m.ID {
			return nil, errors.New("the key does not match its ID")
		}
		k.log.Info("key of secrets received", "key", m.ID, "from", from)
		return []byte("{}"), k.add(m.Key)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[m.ID]
	if !ok {
		return nil, fmt.Errorf("key %s is not known here", m.ID)
	}
	return json.Marshal(keyMessage{ID: m.ID, Key: key})
}

// add keeps a key for good before anything depends on it.
func (k *keyring) add(key []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[keyID(key)] = key
	b, err := json.Marshal(k.sorted())
	if err != nil {
		return err
	}
	if err := writeFile(k.file, b); err != nil {
		return fmt.Errorf("keep the keys of secrets: %w", err)
	}
	return nil
}

// sorted is asked with k.mu held.
func (k *keyring) sorted() [][]byte { return slices.SortedFunc(maps.Values(k.keys), bytes.Compare) }

// all are the keys that this server has.
func (k *keyring) all() [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sorted()
}

// order is the ring as the replica has it: the encrypting key first, behind them keys that only this server knows. Keys that
// it lacks are left out and named.
func (k *keyring) order() (keys [][]byte, missing []string) {
	rec := k.record()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range union(rec.IDs, k.initial(), slices.Sorted(maps.Keys(k.keys))) {
		if key, ok := k.keys[id]; ok {
			keys = append(keys, key)
		} else {
			missing = append(missing, id)
		}
	}
	return keys, missing
}

// union lists every ID once, in the order in which they come.
func union(lists ...[]string) (ids []string) {
	for _, id := range slices.Concat(lists...) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// complete adds to the list what it lacks of the keys here. Two rotations on the two sides of a split leave two lists, of
// which one counts after the merge: without this nobody would ask for the other side's key, and what it sealed would
// stay shut.
func (k *keyring) complete(ctx context.Context) error {
	base, _ := k.mesh.Store().Get(keyringKey)
	if base == nil {
		return nil // never rotated
	}
	rec, first := k.record(), k.initial()
	k.mu.Lock()
	ids := union(rec.IDs, slices.DeleteFunc(slices.Sorted(maps.Keys(k.keys)), func(id string) bool { return slices.Contains(first, id) }))
	k.mu.Unlock()
	if len(ids) == len(rec.IDs) {
		return nil
	}
	body, err := json.Marshal(keyringRecord{IDs: ids})
	if err != nil {
		return err
	}
	_, err = k.mesh.Store().Write(ctx, store.Write{Key: keyringKey, Body: body, Base: base, Human: true})
	if errors.Is(err, store.ErrConflict) {
		return nil // the change wakes us
	}
	return err
}

func (k *keyring) initial() (ids []string) {
	for _, key := range k.mesh.Keys().Secrets {
		ids = append(ids, keyID(key))
	}
	return ids
}

func (k *keyring) record() (rec keyringRecord) {
	if o, _ := k.mesh.Store().Get(keyringKey); o != nil {
		if err := json.Unmarshal(o.Bodies[store.Intent], &rec); err != nil {
			k.log.Error("the list of keys of secrets can't be read", "error", err)
		}
	}
	return rec
}

// run follows the replica's list until ctx ends and fetches keys that are missing.
func (k *keyring) run(ctx context.Context) error {
	for ctx.Err() == nil {
		sub, err := k.mesh.Store().Subscribe(store.Selector{Kind: keyringKey.Kind}, 0, true)
		if err != nil {
			return fmt.Errorf("follow the keys of secrets: %w", err)
		}
		for {
			k.apply(ctx)
			if _, err := sub.Next(ctx); err != nil {
				break
			}
		}
		sub.Close()
	}
	return nil
}

func (k *keyring) apply(ctx context.Context) {
	for {
		if err := k.complete(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("the list of keys of secrets is not completed yet", "error", err)
		}
		keys, missing := k.order()
		if err := k.use(keys); err != nil {
			k.log.Error("keys of secrets not taken", "error", err)
		}
		if len(missing) == 0 {
			return
		}
		for _, id := range missing {
			if err := k.fetch(ctx, id); err != nil {
				k.log.Warn("key of secrets not fetched yet", "key", id, "error", err)
			}
		}
		if _, missing = k.order(); len(missing) > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(keyTimeout):
			}
		}
	}
}

func (k *keyring) fetch(ctx context.Context, id string) error {
	req, err := json.Marshal(keyMessage{ID: id})
	if err != nil {
		return err
	}
	err = errors.New("no peer is in sight")
	for _, m := range k.others() {
		call, cancel := context.WithTimeout(ctx, keyTimeout)
		var reply []byte
		reply, err = k.mesh.Call(call, m, keyringProtocol, req)
		cancel()
		var got keyMessage
		if err == nil {
			err = json.Unmarshal(reply, &got)
		}
		if err == nil && keyID(got.Key) == id {
			return k.add(got.Key)
		}
	}
	return err
}

func (k *keyring) others() (ids []gossip.ID) {
	self := k.mesh.Self().ID
	for _, m := range k.mesh.Members() {
		if m.ID != self && m.State == gossip.Alive {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// rotate makes a new key, hands it to every server in sight and makes it the one that encrypts. Servers out of sight fetch
// it when they are back.
func (k *keyring) rotate(ctx context.Context) error {
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	if err := k.add(key); err != nil {
		return err
	}
	msg, err := json.Marshal(keyMessage{ID: keyID(key), Key: key})
	if err != nil {
		return err
	}
	for _, id := range k.others() {
		call, cancel := context.WithTimeout(ctx, keyTimeout)
		_, err := k.mesh.Call(call, id, keyringProtocol, msg)
		cancel()
		if err != nil {
			k.log.Warn("new key of secrets not handed over, the server will ask for it", "server", id, "error", err)
		}
	}
	return k.lead(ctx, keyID(key))
}

// lead writes the list with id in front.
func (k *keyring) lead(ctx context.Context, id string) error {
	err := amend.Object(ctx, k.mesh.Store(), keyringKey, true, func(*store.Object) ([]byte, error) {
		rec := k.record()
		rec.IDs = append([]string{id}, slices.DeleteFunc(rec.IDs, func(s string) bool { return s == id })...)
		return json.Marshal(rec)
	})
	if err != nil {
		return fmt.Errorf("announce the new key of secrets: %w", err)
	}
	keys, _ := k.order()
	return k.use(keys)
}

// writeFile replaces a file at once and for good.
func writeFile(path string, b []byte) (err error) {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
