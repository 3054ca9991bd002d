package linux

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// steering sends packets that enter, and those that the host itself sends, to an endpoint. Loopback addresses are no node
// ports: a packet from 127.0.0.1 must not leave the host, and letting it would need route_localnet, which opens
// loopback services to the neighbours.
func steering() []chain {
	rules := [][]expr.Any{
		join(frontendKey(false), one(lookupVerdict(setServices))),
		join(addrIn(dstOffset, loopback, false), toThisHost(),
			[]expr.Any{loadProto(keyReg), loadPort(keyReg + 1)}, one(lookupVerdict(setNodePorts))),
	}
	return []chain{
		{"steer-in", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest, rules},
		{"steer-out", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest, rules},
	}
}

// refusing answers for addresses that lead nowhere, at once instead of by silence. What is still addressed to the service
// network here was not steered: the service has no endpoints, or there is none of that port.
func refusing(service netip.Prefix) []chain {
	toService := join(addrIn(dstOffset, service, true), one(jump("refuse")))
	toNothing := join(frontendKey(false), one(isMember(setNoEndpoints)), one(jump("refuse")))
	toClosedPort := join(toThisHost(), frontendKey(true), one(isMember(setNoEndpoints)), one(jump("refuse")))
	return []chain{
		{"refuse-forward", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter, [][]expr.Any{toService, toNothing}},
		{"refuse-in", nftables.ChainTypeFilter, nftables.ChainHookInput, *nftables.ChainPriorityFilter, [][]expr.Any{toNothing, toClosedPort}},
		{"refuse-out", nftables.ChainTypeFilter, nftables.ChainHookOutput, *nftables.ChainPriorityFilter, [][]expr.Any{toService, toNothing}},
	}
}

// leaving decides whose address a new connection bears when it leaves. Pods see one another's own addresses. A client
// from outside keeps its own when the endpoint is on this host (so externalTrafficPolicy Local needs no rule); else its answers must come back
// this way, and it goes on with the host's address in the pod network.
func leaving(cluster, own netip.Prefix) chain {
	host := sourceBecomes(netmesh.Gateway(own))
	return chain{"leave", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, [][]expr.Any{
		// a pod that meets itself through a service would get answers from a stranger
		join(steered(), []expr.Any{loadAddr(srcOffset, keyReg), loadAddr(dstOffset, keyReg+1)}, one(isMember(setHairpin)), host),
		// from outside to a pod elsewhere
		join(steered(), addrIn(srcOffset, cluster, false), addrIn(dstOffset, cluster, true), addrIn(dstOffset, own, false), host),
		// from outside to an endpoint that is another host
		join(steered(), leavesBy("lo", false), addrIn(srcOffset, cluster, false), addrIn(dstOffset, cluster, false), one(&expr.Masq{})),
		// from the pod network to the world
		join(leavesBy("lo", false), addrIn(srcOffset, cluster, true), addrIn(dstOffset, cluster, false), one(&expr.Masq{})),
	}}
}

// clamp lowers the segment size that both sides of a TCP connection offer to what fits through the tunnel.
func clamp() chain {
	return chain{"clamp", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityMangle, [][]expr.Any{
		join(leavesBy(vxlanLink, true), isProto(unix.IPPROTO_TCP), []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x06}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x02}}, // SYN, not RST
			&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
			&expr.Exthdr{SourceRegister: 1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt}, // maximum segment size
		}),
	}}
}
