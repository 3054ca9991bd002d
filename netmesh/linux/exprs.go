package linux

import (
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The words that our rules are made of. Registers 8 to 11 are 4 bytes each and overlay register 1 (16 bytes): a lookup
// may read its key from 8… and leave its answer in 1.

const (
	srcOffset, dstOffset = 12, 16 // in the IPv4 header
	dportOffset          = 2      // in TCP, UDP and SCTP headers alike
	keyReg               = 8
	ctStatusDNAT         = 1 << 5 // IPS_DST_NAT
)

func loadAddr(offset, reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

func loadProto(reg uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg} }

func loadPort(reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: dportOffset, Len: 2}
}

// frontendKey loads address, protocol and port into consecutive registers; anyAddr loads 0.0.0.0 as the address.
func frontendKey(anyAddr bool) []expr.Any {
	if anyAddr {
		return []expr.Any{&expr.Immediate{Register: keyReg, Data: make([]byte, 4)}, loadProto(keyReg + 1), loadPort(keyReg + 2)}
	}
	return []expr.Any{loadAddr(dstOffset, keyReg), loadProto(keyReg + 1), loadPort(keyReg + 2)}
}

func lookupVerdict(set string) expr.Any {
	return &expr.Lookup{SourceRegister: keyReg, SetName: set, DestRegister: 0, IsDestRegSet: true}
}

func isMember(set string) expr.Any { return &expr.Lookup{SourceRegister: keyReg, SetName: set} }

// addrIn matches when the address at offset lies (or does not lie) in a prefix.
func addrIn(offset uint32, p netip.Prefix, yes bool) []expr.Any {
	op := expr.CmpOpEq
	if !yes {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		loadAddr(offset, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask4(p.Bits()), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func mask4(bits int) []byte { return binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - bits)) }

// toThisHost matches packets whose destination is an address of the host.
func toThisHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

// steered matches connections whose destination we have rewritten.
func steered() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(ctStatusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func leavesBy(link string, yes bool) []expr.Any {
	op := expr.CmpOpEq
	if !yes {
		op = expr.CmpOpNeq
	}
	name := make([]byte, 16)
	copy(name, link)
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: name}}
}

func isProto(p byte) []expr.Any {
	return []expr.Any{loadProto(1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}}}
}

// sourceBecomes rewrites the source to a fixed address.
func sourceBecomes(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: a.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}
}

func jump(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func one(e expr.Any) []expr.Any { return []expr.Any{e} }
