package netmesh

import (
	"fmt"
	"net/netip"
	"time"
)

// Node is a server of the mesh as the data plane sees it.
type Node struct {
	ID, Name string
	Addr     netip.Addr   // where its traffic comes from and goes to on the underlay; IPv4
	PodCIDR  netip.Prefix // its slot of the pod network; the zero Prefix while it holds none, see Holders
	Gone     bool         // left or fenced: no routes to it
}

// Protocol is the number of a transport protocol in the IP header.
type Protocol uint8

// The protocols that a Service may have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol-%d", uint8(p))
}

// Endpoint is one place that serves a port.
type Endpoint struct {
	Addr  netip.AddrPort
	Local bool // on this host
}

// ServicePort is one port of a service with the endpoints that may serve it now: whether an endpoint is ready is decided
// by whoever draws the Picture.
type ServicePort struct {
	Service     string // namespace/name
	Name        string // of the port, may be empty
	ClusterIPs  []netip.Addr
	ExternalIPs []netip.Addr // external and load balancer addresses
	Protocol    Protocol
	Port        uint16
	NodePort    uint16 // 0: none
	Endpoints   []Endpoint

	Affinity        bool          // ClientIP: one client keeps meeting the same endpoint while the set of endpoints lasts
	AffinityTimeout time.Duration // unused: affinity is a hash of the client and needs no memory to expire
	LocalOnly       bool          // externalTrafficPolicy: Local
	InternalLocal   bool          // internalTrafficPolicy: Local
}

// HostPort is a port of the host that leads to one pod.
type HostPort struct {
	Protocol  Protocol
	HostIP    netip.Addr // the zero Addr: every address of the host
	Port      uint16     // on the host
	Container uint16     // in the pod
}

// LocalPod is a pod that is attached to this host's data plane.
type LocalPod struct {
	UID   string
	Addr  netip.Addr
	Veth  string // the host's end
	Ports []HostPort
}

// Picture is everything that the data plane of one host depends on.
type Picture struct {
	Self        Node
	Nodes       []Node // Self may be among them
	ClusterCIDR netip.Prefix
	ServiceCIDR netip.Prefix
	Services    []ServicePort
	Pods        []LocalPod // filled by the data plane itself, which knows what is attached
}

// Validate says what a data plane could not carry out, naming the field.
func (p Picture) Validate() error {
	switch {
	case !p.ClusterCIDR.IsValid() || !p.ClusterCIDR.Addr().Is4():
		return fmt.Errorf("cluster CIDR %q: want an IPv4 prefix such as 10.32.0.0/12", p.ClusterCIDR)
	case !p.ServiceCIDR.IsValid() || !p.ServiceCIDR.Addr().Is4():
		return fmt.Errorf("service CIDR %q: want an IPv4 prefix such as 10.96.0.0/16", p.ServiceCIDR)
	case p.ClusterCIDR.Overlaps(p.ServiceCIDR):
		return fmt.Errorf("service CIDR %s overlaps cluster CIDR %s: choose another", p.ServiceCIDR, p.ClusterCIDR)
	case !p.Self.PodCIDR.IsValid():
		return fmt.Errorf("node %s holds no slot of the pod network yet", p.Self.Name)
	case p.Self.PodCIDR.Bits() < p.ClusterCIDR.Bits() || p.Self.PodCIDR.Bits() > 30 || !p.ClusterCIDR.Contains(p.Self.PodCIDR.Addr()):
		return fmt.Errorf("slot %s of node %s does not lie in cluster CIDR %s", p.Self.PodCIDR, p.Self.Name, p.ClusterCIDR)
	}
	return nil
}
