package node

import (
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/roster"
)

// sight tells of Kubernetes nodes, by name, what the mesh knows of members by identity.
type sight struct {
	mesh   *gossip.Mesh
	roster *roster.Roster
}

// Host is what this server believes of a node. A name that no card explains is taken for alive: absence is no evidence. A card
// whose server the mesh has not met yet is no evidence of a death either: the mesh is told to look out for it.
func (s sight) Host(name string) (state gossip.State, since time.Time) {
	card, ok := s.roster.ByName(name)
	if !ok {
		return gossip.Alive, time.Time{}
	}
	for _, m := range s.mesh.Members() {
		if m.ID == card.ID {
			return m.State, m.Since
		}
	}
	s.mesh.Expect(gossip.Member{ID: card.ID, Name: card.Name, Region: card.Region, Zone: card.Zone})
	return gossip.Suspect, time.Time{}
}

// member tells whether a server has, or had, this name, and whether the last one was evicted.
func (s sight) member(name string) (known, evicted bool) {
	card, ok := s.roster.ByName(name)
	return ok, ok && s.mesh.Evicted(card.ID)
}

// mine tells whether this server is the home of an object: of its root owner, where it has one.
func (s sight) mine(kind, namespace, name string) bool {
	return s.mesh.Home(s.root(store.Key{Kind: kind, Namespace: namespace, Name: name})) == s.mesh.Self().ID
}

func (s sight) root(k store.Key) store.Key {
	if o, _ := s.mesh.Store().Get(k); o != nil && o.Root != (store.Key{}) {
		return o.Root
	}
	return k
}
