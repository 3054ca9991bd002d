// Package roster is the list of servers as each describes itself: one card a server, written by that server alone and
// replicated like any object. It carries what peers must know to reach a server's services and what no liveness protocol
// should: addresses, slots, public keys.
package roster

import (
	"net/netip"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
)

// Kind is the store's kind of cards; their names are peer IDs.
const Kind = "mesh/cards"

// Card is one server's own word about itself.
type Card struct {
	ID         gossip.ID         `json:"id"`
	Name       string            `json:"name"` // the Kubernetes node name
	Addr       netip.Addr        `json:"addr"`
	Region     string            `json:"region,omitempty"`
	Zone       string            `json:"zone,omitempty"`
	Slot       uint32            `json:"slot"`      // which piece of the pod network it holds
	SlotSince  time.Time         `json:"slotSince"` // the older claim of a slot stays
	APIPort    uint16            `json:"apiPort"`
	StreamPort uint16            `json:"streamPort"`          // logs, exec, attach, port-forward (the kubelet's place)
	TokenKeys  map[string][]byte `json:"tokenKeys,omitempty"` // key ID → PEM public key of ServiceAccount tokens signed there
	Version    string            `json:"version"`
	Fenced     bool              `json:"fenced,omitempty"`
}
