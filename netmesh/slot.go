package netmesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/bits"
	"net/netip"
	"time"
)

// Claimed is a server's word that it holds a slot. The older claim of a slot stays (at equal age the lower ID); the
// younger one must pick again.
type Claimed struct {
	ID    string
	Slot  uint32
	Since time.Time
}

// ErrNoSlot says that every slot of the pod network is claimed.
var ErrNoSlot = errors.New("every slot of the pod network is taken: widen the cluster CIDR or remove servers that are gone")

// Claim says which slot the server self holds, given every claim it knows, its own included. changed means that this is
// a new claim, to be published with the present time as its Since.
//
// There is no coordinator: each server calls Claim with what it knows and publishes the answer. Whoever holds a slot
// unchallenged, or with the older claim, keeps it whatever others do; so every contest has one winner that never moves again, and
// repeated exchange ends with unique slots.
func Claim(cluster netip.Prefix, slotBits int, self string, known []Claimed) (slot uint32, changed bool, err error) {
	count, err := slots(cluster, slotBits)
	if err != nil {
		return 0, false, err
	}
	taken := make(map[uint32]Claimed, len(known))
	var mine *Claimed
	for i, c := range known {
		if c.ID == self {
			mine = &known[i]
			continue
		}
		if t, ok := taken[c.Slot]; !ok || older(c, t) {
			taken[c.Slot] = c
		}
	}
	if mine != nil && mine.Slot < count {
		if rival, contested := taken[mine.Slot]; !contested || older(*mine, rival) {
			return mine.Slot, false, nil
		}
	}
	return pick(count, self, taken)
}

// hashedTries bounds the independent candidates; a nearly full network is then searched in order.
const hashedTries = 32

func pick(count uint32, self string, taken map[uint32]Claimed) (uint32, bool, error) {
	for k := range uint32(hashedTries) {
		if s := candidate(self, k) % count; !has(taken, s) {
			return s, true, nil
		}
	}
	for k, first := uint32(0), candidate(self, 0)%count; k < count; k++ {
		if s := (first + k) % count; !has(taken, s) {
			return s, true, nil
		}
	}
	return 0, false, ErrNoSlot
}

func has(taken map[uint32]Claimed, slot uint32) bool { _, ok := taken[slot]; return ok }

// Holders says who holds which slot when claims contradict each other: the older claim of each. Routes to a slot lead to its holder,
// on every server that knows the same claims.
func Holders(known []Claimed) map[uint32]string {
	best := make(map[uint32]Claimed, len(known))
	for _, c := range known {
		if b, ok := best[c.Slot]; !ok || older(c, b) {
			best[c.Slot] = c
		}
	}
	out := make(map[uint32]string, len(best))
	for slot, c := range best {
		out[slot] = c.ID
	}
	return out
}

func older(a, b Claimed) bool {
	if !a.Since.Equal(b.Since) {
		return a.Since.Before(b.Since)
	}
	return a.ID < b.ID
}

// candidate is the k-th slot that a server would like, as a full 32-bit number.
func candidate(id string, k uint32) uint32 {
	h := fnv.New64a()
	h.Write([]byte(id))
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], k)
	h.Write(b[:])
	return uint32(mix(h.Sum64()))
}

// mix is a finaliser for FNV, whose high bits barely depend on the last bytes written.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x = bits.RotateLeft64(x*0xc4ceb9fe1a85ec53, 31)
	return x ^ x>>33
}

// CIDR is the prefix of a slot: slot 0 is the first piece of slotBits length in cluster. The zero Prefix when it lies outside.
func CIDR(cluster netip.Prefix, slotBits int, slot uint32) netip.Prefix {
	count, err := slots(cluster, slotBits)
	if err != nil || slot >= count {
		return netip.Prefix{}
	}
	base := cluster.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(base[:]) + slot<<(32-slotBits)
	binary.BigEndian.PutUint32(base[:], n)
	return netip.PrefixFrom(netip.AddrFrom4(base), slotBits)
}

// Gateway is the address that a host itself has in its slot: the first after the network's. The host speaks from it
// whenever it speaks to the pod network or for somebody outside of it.
func Gateway(slot netip.Prefix) netip.Addr { return slot.Masked().Addr().Next() }

func slots(cluster netip.Prefix, slotBits int) (uint32, error) {
	if !cluster.IsValid() || !cluster.Addr().Is4() {
		return 0, fmt.Errorf("cluster CIDR %q: want an IPv4 prefix", cluster)
	}
	if slotBits < cluster.Bits() || slotBits > 30 || slotBits-cluster.Bits() > 20 {
		return 0, fmt.Errorf("slots of /%d in cluster CIDR %s: want between /%d and /30, at most 2^20 of them", slotBits, cluster, cluster.Bits())
	}
	return 1 << (slotBits - cluster.Bits()), nil
}
