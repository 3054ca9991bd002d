package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// An eviction is a durable record named by the peer ID. Every server that has it refuses that identity from then on: its hello,
// its streams, its join; and nobody waits for it any more, so that tombstones can be purged. It is never lifted: the host
// joins again under a new identity.
const evictionKind = "mesh/evictions"

var (
	errEvicted = errors.New("a person evicted this server: to let the host in again, empty its data directory and join with a new token")

	// ErrStillThere: the member is in sight.
	ErrStillThere = errors.New("it is in sight: drain and stop it first, or force the eviction")
	// ErrNoMember: nobody is called so.
	ErrNoMember = errors.New("no server of the mesh is called so; `orpheus members` lists them")
)

type evictionRecord struct {
	Name string `json:"name"`
	At   int64  `json:"at"` // seconds since 1970
}

// evictions is the set as this server's replica has it.
type evictions struct {
	mu  sync.Mutex // guards ids
	ids map[ID]bool
}

func (e *evictions) has(id ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ids[id]
}

// set replaces the set and returns who is new in it.
func (e *evictions) set(objs []*store.Object) (added []ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := make(map[ID]bool, len(objs))
	for _, o := range objs {
		next[ID(o.Name)] = true
	}
	for id := range next {
		if !e.ids[id] {
			added = append(added, id)
		}
	}
	e.ids = next
	slices.Sort(added)
	return added
}

// Evicted tells whether a person evicted this member.
func (m *Mesh) Evicted(id ID) bool { return m.evictions.has(id) }

// Banished tells that a member, which proved to be one, refused this server as evicted.
func (m *Mesh) Banished() bool { return m.banished.Load() }

// Evict declares that a member will not come back, by host name or peer ID. One that is in sight is evicted only by force.
// The record is durable here when Evict returns; the others act on it as it reaches them.
func (m *Mesh) Evict(ctx context.Context, nameOrID string, force bool) (Member, error) {
	p, err := m.find(nameOrID)
	switch {
	case err != nil:
	case p.ID == m.self.ID():
		err = errors.New("a server does not evict itself: run this on another one")
	case !force && (p.State == Alive || p.State == Suspect):
		err = ErrStillThere
	default:
		err = m.recordEviction(ctx, p)
	}
	if err != nil {
		return p, fmt.Errorf("evict %s: %w", nameOrID, err)
	}
	m.refreshEvictions()
	return p, nil
}

func (m *Mesh) recordEviction(ctx context.Context, p Member) error {
	body, err := json.Marshal(evictionRecord{Name: p.Name, At: time.Now().Unix()})
	if err != nil {
		return err
	}
	_, err = m.store.Write(ctx, store.Write{Key: store.Key{Kind: evictionKind, Name: string(p.ID)}, Body: body, Human: true})
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	return err
}

// find takes a name for the one member that has it; of a host that was set up anew, its former lives left.
func (m *Mesh) find(nameOrID string) (Member, error) {
	var hits, left []Member
	for _, p := range m.Members() {
		switch {
		case string(p.ID) == nameOrID:
			return p, nil
		case p.Name != nameOrID || m.Evicted(p.ID):
		case p.State == Left:
			left = append(left, p)
		default:
			hits = append(hits, p)
		}
	}
	if len(hits) == 0 {
		hits = left
	}
	switch len(hits) {
	case 0:
		return Member{}, ErrNoMember
	case 1:
		return hits[0], nil
	}
	return Member{}, fmt.Errorf("%d servers have this name: give the ID, as `orpheus members` shows it", len(hits))
}

func (m *Mesh) listEvictions() []*store.Object {
	objs, _, _, _ := m.store.List(store.Selector{Kind: evictionKind}, store.ListOptions{}) // of now: cannot be compacted
	return objs
}

// refreshEvictions acts on what is new in the replica's set.
func (m *Mesh) refreshEvictions() {
	n := m.link()
	for _, id := range m.evictions.set(m.listEvictions()) {
		m.book.stands(id, Left)
		if n != nil && id != m.self.ID() {
			m.log.Info("a member was evicted", "peer", id)
			n.expel(id)
		}
	}
}

// banning follows the replica's set.
func (n *link) banning(ctx context.Context) error {
	m := n.mesh
	for ctx.Err() == nil {
		sub, err := m.store.Subscribe(store.Selector{Kind: evictionKind}, 0, true)
		if err != nil {
			return fmt.Errorf("follow evictions: %w", err)
		}
		for {
			m.refreshEvictions()
			if _, err := sub.Next(ctx); err != nil {
				break
			}
		}
		sub.Close()
	}
	return nil
}

// expel cuts a member off here.
func (n *link) expel(id ID) {
	if pid, err := peer.Decode(string(id)); err == nil {
		n.admission.expel(pid)
	}
	n.hangUp(id)
	n.tell(departed{id})
}
