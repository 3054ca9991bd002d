// Package linux carries a netmesh.Program out on a Linux host: pods on routed veths, routes to the other hosts (directly
// on the same link, else through VXLAN), and services in one nftables table. It owns every object that carries its mark
// (names that begin with "orpheus", route protocol 79, link aliases "orpheus …"), puts back within a second what
// somebody takes away, and touches nothing else. All of it stays in the kernel when the process ends: a
// later one compares what it finds with what it wants and changes only the difference.
package linux

import "net/netip"

// The marks and constants of our objects.
const (
	tableName  = "orpheus"
	hostLink   = "orpheus0"   // a dummy device: the host's addresses in the pod network
	vxlanLink  = "orpheus-vx" // the tunnel device
	vxlanID    = 7946
	vxlanPort  = 8472
	vxlanExtra = 50 // bytes of outer headers
	routeProto = 79 // marks our routes; see /etc/iproute2/rt_protos for those of others
	podLink    = "eth0"
)

// ServerAddr is where every host answers its pods: their gateway and their name server.
var ServerAddr = netip.AddrFrom4([4]byte{169, 254, 1, 1})
