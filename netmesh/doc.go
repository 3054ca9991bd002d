// Package netmesh is the network of the mesh without a kernel: which slice of the pod network a server may hold, and what
// every service address must lead to. It turns a Picture (what the cluster looks like from here) into a Program (what
// the data plane of this host must do), and says how two Programs differ. Nothing here opens a socket, reads a clock or
// keeps state; netmesh/linux carries a Program out, netmesh/dns answers names, netmesh/ipam hands out pod addresses.
package netmesh
