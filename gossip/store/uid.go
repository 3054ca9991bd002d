package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// UID identifies one life of a key: from its creation to its tombstone.
type UID [16]byte

// newUID derives a UID from the key and the dead lives that its creator knew. The same object made on two sides of a
// split is thereby one object; a name used again after a delete is another one. salt is empty except for objects without
// tombstones (Ephemeral, Local), whose lives it tells apart, and where tombstones of the kind were purged: what they said
// is in the horizon then.
func newUID(k Key, dead []UID, salt []byte) UID {
	h := sha256.New()
	var n [4]byte
	for _, s := range [...]string{"orpheus uid 1", k.Kind, k.Namespace, k.Name, string(salt)} {
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	dead = slices.Clone(dead)
	slices.SortFunc(dead, func(a, b UID) int { return bytes.Compare(a[:], b[:]) })
	for _, d := range dead {
		h.Write(d[:])
	}
	u := UID(h.Sum(nil)[:16])
	u[6] = u[6]&0x0f | 0x80 // version 8: custom
	u[8] = u[8]&0x3f | 0x80
	return u
}

// String is the UUID form.
func (u UID) String() string {
	var b [36]byte
	hex.Encode(b[:8], u[:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:], u[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// parseUID undoes String; ok is false for anything else.
func parseUID(s string) (u UID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	raw, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return u, false
	}
	return UID(raw), true
}
