package linux

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"github.com/orpheus-mesh/orpheus/netmesh"
)

// The sets and maps of the table.
const (
	setServices    = "services"     // address . protocol . port → chain
	setNodePorts   = "nodeports"    // protocol . port → chain
	setEndpoints   = "endpoints"    // address . protocol . port . number → address . port; address 0.0.0.0: a node port
	setNoEndpoints = "no-endpoints" // address . protocol . port; address 0.0.0.0: a node port
	setHairpin     = "hairpin"      // address . the same address
)

var setNames = []string{setServices, setNodePorts, setEndpoints, setNoEndpoints, setHairpin}

// newSet describes a set of the layout. Its ID tells it apart from the others within one transaction.
func newSet(t *nftables.Table, name string) *nftables.Set {
	addr, proto, port := nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService
	concat := nftables.MustConcatSetType
	s := &nftables.Set{Table: t, Name: name, Concatenation: true}
	switch name {
	case setServices:
		s.ID, s.IsMap, s.KeyType, s.DataType = 1, true, concat(addr, proto, port), nftables.TypeVerdict
	case setNodePorts:
		s.ID, s.IsMap, s.KeyType, s.DataType = 2, true, concat(proto, port), nftables.TypeVerdict
	case setEndpoints:
		s.ID, s.IsMap, s.KeyType, s.DataType = 3, true, concat(addr, proto, port, nftables.TypeMark), concat(addr, port)
	case setNoEndpoints:
		s.ID, s.KeyType = 4, concat(addr, proto, port)
	case setHairpin:
		s.ID, s.KeyType = 5, concat(addr, addr)
	}
	return s
}

// element is one entry of a set: key and value as the kernel stores them, the value of a verdict map being the name of
// the chain to go to.
type element struct{ set, key, value string }

func (e element) toKernel() nftables.SetElement {
	k := nftables.SetElement{Key: []byte(e.key)}
	switch e.set {
	case setServices, setNodePorts:
		k.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.value}
	case setEndpoints:
		k.Val = []byte(e.value)
	}
	return k
}

// elementsOf are the entries that a frontend needs, handed to yield.
func elementsOf(f *netmesh.Frontend, yield func(element)) {
	key := encodeKey(f.FrontendKey)
	if len(f.Endpoints) == 0 {
		yield(element{setNoEndpoints, string(key), ""})
		return
	}
	to := balancerOf(f).chain()
	if f.Addr.IsValid() {
		yield(element{setServices, string(key), to})
	} else {
		yield(element{setNodePorts, string(key[4:]), to})
	}
	for i, e := range f.Endpoints {
		yield(element{setEndpoints, string(append(key[:12:12], binaryutil.NativeEndian.PutUint32(uint32(i))...)), encodeEndpoint(e)})
	}
}

func hairpinElement(a netip.Addr) element {
	b := a.AsSlice()
	return element{setHairpin, string(append(b[:4:4], b...)), ""}
}

// encodeKey is address . protocol . port, each padded to four bytes.
func encodeKey(k netmesh.FrontendKey) []byte {
	b := make([]byte, 12)
	if k.Addr.IsValid() {
		copy(b, k.Addr.AsSlice())
	}
	b[4] = byte(k.Protocol)
	binary.BigEndian.PutUint16(b[8:], k.Port)
	return b
}

func decodeKey(b string) netmesh.FrontendKey {
	k := netmesh.FrontendKey{Protocol: netmesh.Protocol(b[4]), Port: binary.BigEndian.Uint16([]byte(b[8:10]))}
	if a := netip.AddrFrom4([4]byte([]byte(b[:4]))); !a.IsUnspecified() {
		k.Addr = a
	}
	return k
}

func encodeEndpoint(e netip.AddrPort) string {
	b := make([]byte, 8)
	copy(b, e.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[4:], e.Port())
	return string(b)
}

func decodeEndpoint(b string) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte([]byte(b[:4]))), binary.BigEndian.Uint16([]byte(b[4:6])))
}
