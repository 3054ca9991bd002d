package node

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/netmesh/ipam"
	"github.com/orpheus-mesh/orpheus/netmesh/linux"
	"github.com/orpheus-mesh/orpheus/node/agent"
)

// podNet is the network as the agent needs it: addresses of this server's slot, and the data plane.
type podNet struct {
	plane *linux.Plane

	mu   sync.Mutex // guards pool
	pool *ipam.Pool
}

// move makes slot the one that addresses come from. Pods with addresses of another slot have to be made anew.
func (n *podNet) move(slot netip.Prefix) error {
	pool, err := ipam.New(slot)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pool = pool
	return nil
}

func (n *podNet) current() *ipam.Pool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pool
}

func (n *podNet) Assign(podUID string) (netip.Addr, error)        { return n.current().Assign(podUID) }
func (n *podNet) Adopt(podUID string, addr netip.Addr) error      { return n.current().Adopt(podUID, addr) }
func (n *podNet) Release(podUID string)                           { n.current().Release(podUID) }
func (n *podNet) Detach(ctx context.Context, podUID string) error { return n.plane.Detach(ctx, podUID) }

// Attach joins a pod to the network.
func (n *podNet) Attach(ctx context.Context, a agent.Attachment) error {
	ports, err := hostPorts(a.Ports)
	if err != nil {
		return err
	}
	return n.plane.Attach(ctx, linux.Attachment{PodUID: a.PodUID, PID: a.PID, Addr: a.Addr, Ports: ports})
}

func hostPorts(in []corev1.ContainerPort) (out []netmesh.HostPort, err error) {
	protocols := map[corev1.Protocol]netmesh.Protocol{"": netmesh.TCP, corev1.ProtocolTCP: netmesh.TCP, corev1.ProtocolUDP: netmesh.UDP, corev1.ProtocolSCTP: netmesh.SCTP}
	for _, p := range in {
		if p.HostPort == 0 {
			continue
		}
		h := netmesh.HostPort{Protocol: protocols[p.Protocol], Port: uint16(p.HostPort), Container: uint16(p.ContainerPort)}
		if p.HostIP != "" && p.HostIP != "0.0.0.0" {
			if h.HostIP, err = netip.ParseAddr(p.HostIP); err != nil {
				return nil, fmt.Errorf("host port %d: hostIP: %w", p.HostPort, err)
			}
		}
		out = append(out, h)
	}
	return out, nil
}
