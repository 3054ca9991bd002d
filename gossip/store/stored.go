package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// What is in the file's buckets (FORMATS.md). Every value carries a CRC-32C of its own: bbolt checks its meta pages only, and a
// disk that returns other bytes than were written must not go unnoticed. A later version may append to a value; this one
// keeps what it does not know and reads what it does.

const diskVersion = 1

// marks are the high-water marks that survive a crash. They run ahead of what was used, so that they need not be written
// at once with every use.
type marks struct {
	counter uint64
	stamp   Stamp
	rev     Revision
}

const marksSize = 1 + 3*8

func (m marks) encode(more []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{diskVersion}, m.counter)
	b = binary.BigEndian.AppendUint64(b, uint64(m.stamp))
	b = binary.BigEndian.AppendUint64(b, uint64(m.rev))
	return sealed(append(b, more...))
}

// decodeMarks also returns what a later version appended.
func decodeMarks(b []byte) (m marks, more []byte, err error) {
	v, ok := unsealed(b)
	if !ok || len(v) < marksSize {
		return marks{}, nil, fmt.Errorf("%w: high-water marks", errCorrupt)
	}
	if v[0] != diskVersion {
		return marks{}, nil, fmt.Errorf("its format is version %d, this program reads %d", v[0], diskVersion)
	}
	m = marks{binary.BigEndian.Uint64(v[1:]), Stamp(binary.BigEndian.Uint64(v[9:])), Revision(binary.BigEndian.Uint64(v[17:]))}
	return m, bytes.Clone(v[marksSize:]), nil
}

func (h horizonOf) encode(more []byte) []byte {
	return sealed(append(binary.BigEndian.AppendUint64(nil, uint64(h.at)), more...))
}

// decodeHorizon also returns what a later version appended, and reads the 8 bytes without a sum of files from before horizons
// had one.
func decodeHorizon(kind, b []byte) (at Stamp, more []byte, err error) {
	v, ok := unsealed(b)
	if len(b) == 8 {
		v, ok = b, true
	}
	if !ok || len(v) < 8 || len(kind) > maxField {
		return 0, nil, fmt.Errorf("%w: horizon of %.100q", errCorrupt, kind)
	}
	return Stamp(binary.BigEndian.Uint64(v)), bytes.Clone(v[8:]), nil
}

// sealed appends the sum of b.
func sealed(b []byte) []byte { return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

func unsealed(b []byte) (v []byte, ok bool) {
	if len(b) < 4 {
		return nil, false
	}
	v = b[:len(b)-4]
	return v, crc32.Checksum(v, castagnoli) == binary.BigEndian.Uint32(b[len(v):])
}

func storedKey(r *Record) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 40), uint64(r.Stamp)), r.hash[:]...)
}

func storedValue(r *Record) []byte {
	b := r.appendEnvelope(make([]byte, 4, r.size()+16))
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// decodeStored checks the sum over the value and, by the key, the record's own hash.
func decodeStored(k, v []byte) (*Record, error) { return new(pieces).decode(k, v) }

// pieces cuts the bytes of records out of larger pieces of memory: one by one, the allocator would round each up, by an eighth
// where bodies have 2 KB. A piece stays until all that is in it is gone; so what is read in the order of stamps, of which neighbours
// mostly live and die together, is cut out of pieces, and what comes later stands alone.
type pieces struct {
	size int // 0: no pieces
	free []byte
}

func (p *pieces) take(n int) []byte {
	if n > p.size/8 {
		return make([]byte, 0, n)
	}
	if n > len(p.free) {
		p.free = make([]byte, p.size)
	}
	out := p.free[:0:n]
	p.free = p.free[n:]
	return out
}

func (p *pieces) decode(k, v []byte) (*Record, error) {
	if len(v) < 4 || crc32.Checksum(v[4:], castagnoli) != binary.BigEndian.Uint32(v) {
		return nil, fmt.Errorf("%w: checksum of record %x", errCorrupt, k)
	}
	d := decoder{b: v[4:]}
	r, err := d.envelope(p)
	if err != nil || len(d.b) > 0 || string(storedKey(r)) != string(k) {
		return nil, fmt.Errorf("%w: record %x", errCorrupt, k)
	}
	return r, nil
}
