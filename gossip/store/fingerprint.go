package store

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
)

// digest hashes a sum and a count: the sum alone could be met by a crafted set.
func (a sum) digest(n int) [32]byte {
	b := make([]byte, 0, 40)
	for _, x := range a {
		b = binary.BigEndian.AppendUint64(b, x)
	}
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(n)))
}

// publishHorizon hands the core's horizons to reconciliation, sorted by kind.
func (s *Store) publishHorizon() {
	hs := make([]horizonOf, 0, len(s.core.horizon))
	for k, at := range s.core.horizon {
		hs = append(hs, horizonOf{k, at})
	}
	slices.SortFunc(hs, func(a, b horizonOf) int { return strings.Compare(a.kind, b.kind) })
	s.horizon.Store(&hs)
}
