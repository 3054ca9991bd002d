package store

import (
	"crypto/sha256"
	"encoding/binary"
)

// digest hashes a sum and a count: the sum alone could be met by a crafted set.
func (a sum) digest(n int) [32]byte {
	b := make([]byte, 0, 40)
	for _, x := range a {
		b = binary.BigEndian.AppendUint64(b, x)
	}
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(n)))
}
