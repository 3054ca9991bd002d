package linux

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// layout numbers the sets and their meaning. A table with another one is replaced whole, in one transaction.
const (
	layout       = 1
	markerPrefix = "layout-"
)

// staticCounts is for how many endpoints the balancing chains always exist; beyond it they are made as needed.
const staticCounts = 16

// chain is one chain as wanted, its rules in words and as a fingerprint to find in the kernel.
type chain struct {
	name     string
	kind     nftables.ChainType // base chains only
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    [][]expr.Any
}

// fingerprint names a rule by its content; it is stored beside the rule as its comment.
func fingerprint(rule []expr.Any) string {
	h := sha256.New()
	for _, e := range rule {
		fmt.Fprintf(h, "%T%+v;", e, e)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// balancer names the static chain that spreads over n endpoints. All services with n endpoints share it: the chain looks up
// (address, protocol, port, drawn number) in one map.
type balancer struct {
	nodePort, sticky bool
	n                int
}

func (b balancer) chain() string {
	name := "service"
	if b.nodePort {
		name = "nodeport"
	}
	if b.sticky {
		name += "-sticky"
	}
	return fmt.Sprintf("%s-%d", name, b.n)
}

func balancerOf(f *netmesh.Frontend) balancer {
	return balancer{!f.Addr.IsValid(), f.Sticky, len(f.Endpoints)}
}

func (b balancer) rule() []expr.Any {
	draw := one(&expr.Numgen{Register: keyReg + 3, Modulus: uint32(b.n), Type: unix.NFT_NG_RANDOM})
	if b.sticky {
		draw = []expr.Any{
			loadAddr(srcOffset, 2),
			&expr.Hash{SourceRegister: 2, DestRegister: keyReg + 3, Length: 4, Modulus: uint32(b.n), Seed: 0x6f727068, Type: expr.HashTypeJenkins},
		}
	}
	return join(frontendKey(b.nodePort), draw, []expr.Any{
		&expr.Lookup{SourceRegister: keyReg, DestRegister: 1, SetName: setEndpoints, IsDestRegSet: true},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: keyReg + 1, Specified: true},
	})
}

// skeleton is every chain of the table in the order of creation: leaves first, so that a jump finds its target.
func skeleton(cluster, service, own netip.Prefix, extra map[balancer]int) []chain {
	chains := []chain{{name: fmt.Sprintf("%s%d", markerPrefix, layout)}}
	chains = append(chains, chain{name: "refuse", rules: [][]expr.Any{
		join(isProto(unix.IPPROTO_TCP), one(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})),
		one(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}), // port unreachable
	}})
	for _, nodePort := range []bool{false, true} {
		for _, sticky := range []bool{false, true} {
			for n := 1; n <= netmesh.MaxEndpoints; n++ {
				b := balancer{nodePort, sticky, n}
				if n <= staticCounts || extra[b] > 0 {
					chains = append(chains, chain{name: b.chain(), rules: [][]expr.Any{b.rule()}})
				}
			}
		}
	}
	chains = append(chains, steering()...)
	chains = append(chains, refusing(service)...)
	return append(chains, leaving(cluster, own), clamp())
}
