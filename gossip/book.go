package gossip

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

const peersFile = "peers.json"

// known is what is remembered of a peer across restarts, so that it is redialled for ever.
type known struct {
	ID     ID             `json:"id"`
	Name   string         `json:"name"`
	Addr   netip.AddrPort `json:"addr"`
	Region string         `json:"region,omitempty"`
	Zone   string         `json:"zone,omitempty"`
	Left   bool           `json:"left,omitempty"`
	Lost   bool           `json:"lost,omitempty"` // was Failed when last judged

	more string // fields of a later version, a JSON object
}

// facts is a known peer without the fields of later versions.
type facts known

// UnmarshalJSON keeps the fields of later versions.
func (k *known) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, (*facts)(k)); err != nil {
		return err
	}
	more, err := unknown(b, facts{})
	k.more = string(more)
	return err
}

// MarshalJSON writes the fields of later versions, too.
func (k known) MarshalJSON() ([]byte, error) { return beside(facts(k), []byte(k.more)) }

// book is the list of all peers ever met, mirrored to a file.
type book struct {
	path string

	mu    sync.Mutex // guards what follows
	peers map[ID]known
	dirty bool
}

func openBook(path string) (*book, error) {
	var list []known
	if err := readJSON(path, &list); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read known peers: %w", err)
	}
	b := &book{path: path, peers: make(map[ID]known, len(list))}
	for _, k := range list {
		b.peers[k.ID] = k
	}
	return b, nil
}

// learn remembers a peer and tells whether anything about it is new. Empty fields do not overwrite.
func (b *book) learn(k known) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, ok := b.peers[k.ID]
	if k.Name == "" {
		k.Name = old.Name
	}
	if !k.Addr.IsValid() {
		k.Addr = old.Addr
	}
	if k.Region == "" && k.Zone == "" {
		k.Region, k.Zone = old.Region, old.Zone
	}
	if k.more == "" {
		k.more = old.more
	}
	if ok && old == k {
		return false
	}
	b.peers[k.ID] = k
	b.dirty = true
	return true
}

// stands notes how a peer was last judged; a doubt changes nothing.
func (b *book) stands(id ID, s State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.peers[id]
	if !ok || s == Suspect {
		return
	}
	old := k
	k.Left, k.Lost = s == Left, s == Failed
	if k != old {
		b.peers[id] = k
		b.dirty = true
	}
}

func (b *book) get(id ID) (known, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.peers[id]
	return k, ok
}

func (b *book) all() []known {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.peers), func(x, y known) int {
		if x.ID < y.ID {
			return -1
		}
		return 1
	})
}

// save writes the book when it changed since it was written.
func (b *book) save() error {
	b.mu.Lock()
	dirty := b.dirty
	b.dirty = false
	b.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := writeJSON(b.path, b.all()); err != nil {
		b.mu.Lock()
		b.dirty = true
		b.mu.Unlock()
		return err
	}
	return nil
}
