package store

import "encoding/binary"

// span is one range with what its speaker knows of it. It begins where the one before ended.
type span struct {
	lo, hi bound
	mode   byte
	finger [shortHash]byte
	count  int
	hashes [][shortHash]byte // list, want
}

const (
	skip byte = iota
	fingerprint
	listing
	want
)

// bound is a place in the order of records, itself included in what follows it.
type bound struct {
	stamp Stamp
	hash  hash
}

var end = bound{stamp: ^Stamp(0), hash: hash(filled(0xff))}

func filled(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

func (b bound) probe() *Record { return &Record{Stamp: b.stamp, hash: b.hash} }

func (b bound) compare(o bound) int { return b.probe().compare(o.probe()) }

// Spans on the wire: mode, lower bound only where it is not the upper bound of the span before, upper bound, content.
func encodeSpans(b []byte, spans []span) []byte {
	at := bound{}
	for _, sp := range spans {
		if sp.lo != at {
			b = appendBound(append(b, skip), sp.lo)
		}
		b = appendBound(append(b, sp.mode), sp.hi)
		at = sp.hi
		if sp.mode == fingerprint {
			b = append(b, sp.finger[:]...)
			b = binary.AppendUvarint(b, uint64(sp.count))
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(sp.hashes)))
		for _, h := range sp.hashes {
			b = append(b, h[:]...)
		}
	}
	return b
}

func appendBound(b []byte, at bound) []byte {
	if at == end {
		return append(b, 2)
	}
	if at.hash == (hash{}) {
		return binary.AppendUvarint(append(b, 0), uint64(at.stamp))
	}
	return append(binary.AppendUvarint(append(b, 1), uint64(at.stamp)), at.hash[:]...)
}

func decodeSpans(d *decoder) []span {
	var out []span
	at := bound{}
	for len(d.b) > 0 {
		sp := span{lo: at, mode: d.byte(), hi: decodeBound(d)}
		switch sp.mode {
		case skip:
		case fingerprint:
			copy(sp.finger[:], d.take(shortHash))
			sp.count = d.length(maxTold)
			out = append(out, sp)
		case listing, want:
			for n := d.length(maxTurn / shortHash); n > 0 && d.err == nil; n-- {
				var h [shortHash]byte
				copy(h[:], d.take(shortHash))
				sp.hashes = append(sp.hashes, h)
			}
			out = append(out, sp)
		default:
			d.fail()
		}
		if d.err != nil || sp.hi.compare(at) < 0 {
			d.fail()
			return nil
		}
		at = sp.hi
	}
	return out
}

func decodeBound(d *decoder) bound {
	switch d.byte() {
	case 0:
		return bound{stamp: Stamp(d.uint())}
	case 1:
		b := bound{stamp: Stamp(d.uint())}
		copy(b.hash[:], d.take(32))
		return b
	case 2:
		return end
	}
	d.fail()
	return bound{}
}
