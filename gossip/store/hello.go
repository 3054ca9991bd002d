package store

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// hello is what two replicas tell each other beside their records: which tombstones were purged, and who holds what. It
// travels with a reconciliation alone, for what it says is true of whoever holds all of the speaker's records.
type hello struct {
	horizons  []horizonOf // sorted by kind
	heard     []markOf    // everything that an actor wrote up to this stamp is here; sorted by actor
	forgetful bool        // the speaker lost its disk, or never had one, and met nobody who knows more
	holds     []markOf    // everything that anybody wrote up to this stamp is at that member; sorted by member
}

type markOf struct {
	actor string
	at    Stamp
}

// Sections of a hello. A reader skips those that it does not know.
const (
	tellHorizons  = 1
	tellHeard     = 2
	tellHolds     = 3
	tellForgetful = 4 // empty
)

// old reports that who told this hello merges r only where it knows the life.
func (h *hello) old(r *Record) bool {
	if h == nil {
		return false
	}
	i, ok := slices.BinarySearchFunc(h.horizons, r.Kind, func(o horizonOf, kind string) int { return strings.Compare(o.kind, kind) })
	return ok && (r.Part != Intent || r.born() <= h.horizons[i].at)
}

func (h *hello) sections(b []byte) []byte {
	if n := uint64(3); h.forgetful {
		b = append(binary.AppendUvarint(b, n+1), tellForgetful, 0)
	} else {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, tellHorizons)
	b = appendString(b, string(appendHorizons(nil, h.horizons)))
	b = append(b, tellHeard)
	b = appendString(b, string(appendMarks(nil, h.heard)))
	b = append(b, tellHolds)
	return appendString(b, string(appendMarks(nil, h.holds)))
}

func (h *hello) digest() [8]byte {
	d := sha256.Sum256(h.sections(nil))
	return [8]byte(d[:])
}

// appendHello puts the version and a digest of our hello on the wire. The hello itself follows only where the peer's digest,
// heard before, is another one: the answering side tells at once, the asking side in a frame of its own before its second turn.
func (p *session) appendHello(b []byte) []byte {
	mine := p.mine.digest()
	b = append(append(b, helloByte, reconVersion), mine[:]...)
	if !p.heard || p.digest == mine {
		return binary.AppendUvarint(b, 0)
	}
	return p.mine.sections(b)
}

func (p *session) decodeHello(d *decoder) {
	if d.byte() != helloByte || d.byte() < reconVersion {
		d.fail()
		return
	}
	copy(p.digest[:], d.take(8))
	n := d.length(maxSections)
	if n == 0 {
		if p.digest == p.mine.digest() {
			p.peer = &p.mine // it would say the same
		}
		return
	}
	p.decodeSections(d, n)
}

func (p *session) decodeSections(d *decoder, n int) {
	p.peer = &hello{}
	for range n {
		tag := d.byte()
		sec := decoder{b: d.take(d.length(maxSection)), err: d.err}
		switch tag {
		case tellHorizons:
			p.peer.horizons = sec.horizons()
		case tellHeard:
			p.peer.heard = sec.marks()
		case tellForgetful:
			p.peer.forgetful = true
		case tellHolds:
			p.peer.holds = sec.marks()
		}
		if sec.err != nil {
			d.fail()
			return
		}
	}
}

func appendHorizons(b []byte, hs []horizonOf) []byte {
	b = binary.AppendUvarint(b, uint64(len(hs)))
	for _, h := range hs {
		b = binary.AppendUvarint(appendString(b, h.kind), uint64(h.at))
	}
	return b
}

func appendMarks(b []byte, ms []markOf) []byte {
	b = binary.AppendUvarint(b, uint64(len(ms)))
	for _, m := range ms {
		b = binary.AppendUvarint(appendString(b, m.actor), uint64(m.at))
	}
	return b
}

func (d *decoder) marks() []markOf {
	var out []markOf
	for range d.length(maxContext) {
		m := markOf{d.string(maxActor), Stamp(d.uint())}
		if d.err != nil || len(out) > 0 && out[len(out)-1].actor >= m.actor {
			d.fail()
			return nil
		}
		out = append(out, m)
	}
	return out
}

// hello is the core's present one; it is true of its records once these are on disk.
func (c *core) hello() *hello {
	h := &hello{forgetful: c.forgetful || c.set.size() == 0, heard: marksOf(c.heard), holds: marksOf(c.holds)}
	for _, kind := range slices.Sorted(maps.Keys(c.horizon)) {
		h.horizons = append(h.horizons, horizonOf{kind, c.horizon[kind]})
	}
	return h
}

func marksOf(m map[string]Stamp) []markOf {
	out := make([]markOf, 0, len(m))
	for _, actor := range slices.Sorted(maps.Keys(m)) {
		out = append(out, markOf{actor, m[actor]})
	}
	return out
}
