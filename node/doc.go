// Package node is one server of the mesh: it builds the rooms, joins their doors and runs them until it is told to stop.
// Only this tree knows Kubernetes types; the rooms below it (gossip, placement, netmesh, ingress) have small types of their
// own, and the translation happens here.
package node
