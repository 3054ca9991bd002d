package api

import "github.com/orpheus-mesh/orpheus/gossip/store"

// Class tells how objects of a kind live. Leases are Durable, because users' leader elections need them; node leases are
// not written at all: liveness is the mesh's.
func Class(kind string) store.Class {
	switch kind {
	case "core/events", "events.k8s.io/events":
		return store.Ephemeral
	case "discovery.k8s.io/endpointslices", "core/endpoints":
		return store.Local
	}
	return store.Durable
}
