package gossip

import (
	"net/netip"
	"time"
)

// ID is a peer's libp2p identity in its text form (12D3KooW…). It is also its name in serf and the actor of its records.
type ID string

// State is what this node believes of a peer at the moment.
type State uint8

const (
	Alive   State = iota
	Suspect       // no answer lately: stop sending it traffic, move nothing
	Failed        // dead as far as this side of the mesh can tell: what it ran may be replaced
	Left          // said goodbye (drained or shut down for good)
)

func (s State) String() string {
	return [...]string{"alive", "suspect", "failed", "left"}[s]
}

// Member is one server of the mesh, as this node sees it.
type Member struct {
	ID           ID
	Name         string // host name, unique by the mesh's word: the node name that kubectl shows
	Addr         netip.AddrPort
	Region, Zone string
	State        State
	Since        time.Time // when State was entered, by this node's clock
}
