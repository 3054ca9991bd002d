package store

import (
	"errors"
	"fmt"
)

// Reconciliation makes two stores equal at a cost that grows with their difference (range-based set reconciliation, Meyer
// 2023, arXiv:2212.13567). Both sides order their records by stamp and hash and take turns; a turn is a row of ranges,
// each with what the speaker knows of it:
//
//	fingerprint  a hash over all records in the range, and their number. Equal: done. Few here: answered with a list.
//	             Else answered with the fingerprints of 16 parts.
//	list         the hashes of all records in the range. Answered with the records that are missing there, and a want
//	             for those that are missing here. Done.
//	want         hashes of records, answered with the records. Done.
//
// Records travel in frames before the turn's end and are merged and fsynced frame by frame, so that a turn may carry a
// whole store (an empty joiner gets everything in its first) without either side holding more than one frame. Turns
// strictly alternate: nobody writes while the other does, so no pipe can fill up from both ends. Each side answers from a
// snapshot; what is written meanwhile is the next reconciliation's. A turn that says nothing ends it.
const (
	branches     = 16
	leaf         = 32
	shortHash    = 16
	reconVersion = 2

	frameHello = optional + 1

	turnFrame = 't' // ranges: the end of a turn
	helloByte = 'h'
	optional  = 0x80 // frames of types from here on may be skipped by who does not know them
)

// Stats tell what a reconciliation cost and brought.
type Stats struct {
	Turns          int
	Sent, Received int   // records
	Merged         int   // of the received: were news
	Out, In        int64 // bytes
}

// session is one side of a reconciliation as a machine without a stream: frames that came go into hear, frames to send
// come out of next. Nothing of it is kept in memory beyond one turn's ranges and one frame of records.
type session struct {
	set   *node[*Record] // ours, when it began
	mine  hello
	first bool // we asked
	spoke bool
	over  bool
	turns int
	out   []job // what remains to be said in this turn, in order
	stats Stats

	heard  bool
	digest [8]byte // of the peer's hello
	peer   *hello  // where it told more than its digest

	sent, got map[lifeName]int // records of lives from before the peer's horizon: sent to it, received from it
}

// job is part of a turn: a ready frame, or records yet to be packed.
type job struct {
	frame []byte
	i, j  int                      // ranks in set
	only  map[[shortHash]byte]bool // of these, those whose hash is in; nil: all
	not   map[[shortHash]byte]bool // of these, those whose hash is not in
}

func newSession(set *node[*Record], mine hello, first bool) *session {
	p := &session{set: set, mine: mine, first: first, sent: map[lifeName]int{}, got: map[lifeName]int{}}
	if first {
		p.say([]span{p.summary(bound{}, end)})
	}
	return p
}

// next returns the next frame to send, or nil where it is the peer's turn or all is over.
func (p *session) next() []byte {
	for len(p.out) > 0 {
		now := &p.out[0]
		if now.frame != nil {
			f := now.frame
			p.out = p.out[1:]
			return f
		}
		if f := p.pack(now); f != nil {
			return f
		}
		p.out = p.out[1:]
	}
	return nil
}

// pack takes the next frame of records out of a job; nil where it is done.
func (p *session) pack(now *job) []byte {
	var batch []*Record
	size := 0
	p.set.slice(now.i, now.j, func(r *Record) bool {
		h := [shortHash]byte(r.hash[:])
		if now.only != nil && !now.only[h] || now.not[h] {
			now.i++
			return true
		}
		if len(batch) == sendRecords || len(batch) > 0 && size+r.size() > sendBytes {
			return false
		}
		now.i++
		batch, size = append(batch, r), size+r.size()
		if p.peer.old(r) {
			p.sent[lifeName{r.Key, r.UID}]++
		}
		return true
	})
	if len(batch) == 0 {
		return nil
	}
	p.stats.Sent += len(batch)
	return encodeFrame(batch)
}

// say ends our turn.
func (p *session) say(spans []span) {
	b := []byte{turnFrame}
	if !p.spoke {
		b, p.spoke = p.appendHello(b), true
	}
	p.out = append(p.out, job{frame: encodeSpans(b, spans)})
}

// hear takes one frame of the peer's turn. It returns records that are to be verified and merged before the next frame; at
// the turn's end our own turn is ready.
func (p *session) hear(frame []byte) ([]*Record, error) {
	switch {
	case p.over || len(p.out) > 0:
		return nil, errors.New("the peer speaks out of turn")
	case len(frame) == 0:
		return nil, errors.New("neither records nor a turn")
	case frame[0] == frameHello:
		d := decoder{b: frame[1:]}
		p.decodeSections(&d, d.length(maxSections))
		return nil, d.err
	case frame[0] >= optional:
		return nil, nil
	case frame[0] == frameRecords:
		recs, err := decodeFrame(frame)
		p.stats.Received += len(recs)
		for _, r := range recs {
			if p.peer.old(r) {
				p.got[lifeName{r.Key, r.UID}]++
			}
		}
		return recs, err
	case frame[0] != turnFrame:
		return nil, errors.New("neither records nor a turn")
	}
	return nil, p.turn(frame[1:])
}

func (p *session) turn(b []byte) error {
	d := decoder{b: b}
	begins := !p.heard
	if begins {
		p.decodeHello(&d)
		p.heard = true
	}
	spans := decodeSpans(&d)
	if d.err != nil {
		return d.err
	}
	if p.turns++; p.turns > maxTurns {
		return fmt.Errorf("no end after %d turns", maxTurns)
	}
	p.stats.Turns = p.turns
	if len(spans) == 0 {
		p.over = true
		return nil
	}
	if begins && p.first && p.digest != p.mine.digest() { // the answering side told all with its digest
		p.out = append(p.out, job{frame: p.mine.sections([]byte{frameHello})})
	}
	answer := p.answer(spans)
	p.say(answer)
	p.over = len(answer) == 0
	return nil
}

// summary is the fingerprint of our records from lo to hi.
func (p *session) summary(lo, hi bound) span {
	i, before := p.set.before(lo.probe())
	j, upTo := p.set.before(hi.probe())
	d := upTo.minus(before).digest(j - i)
	return span{lo: lo, hi: hi, mode: fingerprint, finger: [shortHash]byte(d[:]), count: j - i}
}

// answer works off what the peer said. Records that it lacks come before the turn's end.
func (p *session) answer(spans []span) []span {
	var out []span
	hashes := 0
	for _, sp := range spans {
		switch {
		case sp.mode == want:
			i, _ := p.set.before(sp.lo.probe())
			j, _ := p.set.before(sp.hi.probe())
			p.out = append(p.out, job{i: i, j: j, only: setOf(sp.hashes)})
		case sp.mode == fingerprint && (len(out) >= turnRanges-branches || hashes >= turnHashes):
			out = p.later(out, sp)
		default:
			more := p.compare(sp)
			for _, m := range more {
				hashes += len(m.hashes)
			}
			out = append(out, more...)
		}
	}
	return out
}

func setOf(hashes [][shortHash]byte) map[[shortHash]byte]bool {
	out := make(map[[shortHash]byte]bool, len(hashes))
	for _, h := range hashes {
		out[h] = true
	}
	return out
}

// later says a range again as it is. Where there are very many, neighbours become one: less progress, but a bounded turn.
func (p *session) later(out []span, sp span) []span {
	mine := p.summary(sp.lo, sp.hi)
	if mine.finger == sp.finger {
		return out
	}
	if last := len(out) - 1; last >= maxSpans {
		out[last] = p.summary(out[last].lo, sp.hi)
		return out
	}
	return append(out, mine)
}

func (p *session) compare(sp span) []span {
	mine := p.summary(sp.lo, sp.hi)
	i, _ := p.set.before(sp.lo.probe())
	j := i + mine.count
	switch {
	case sp.mode == listing:
		return p.compareList(sp, i, j)
	case mine.finger == sp.finger:
		return nil
	case sp.count == 0:
		p.out = append(p.out, job{i: i, j: j})
		return nil
	case mine.count <= leaf:
		return []span{p.list(sp.lo, sp.hi, i, j)}
	}
	return p.split(sp.lo, sp.hi, i, j)
}

func (p *session) list(lo, hi bound, i, j int) span {
	out := span{lo: lo, hi: hi, mode: listing}
	p.set.slice(i, j, func(r *Record) bool {
		out.hashes = append(out.hashes, [shortHash]byte(r.hash[:]))
		return true
	})
	return out
}

// split fingerprints parts of about equal size.
func (p *session) split(lo, hi bound, i, j int) []span {
	var out []span
	step := (j - i + branches - 1) / branches
	for k := i; k < j; k += step {
		to := hi
		if k+step < j {
			to = between(p.set.at(k+step-1), p.set.at(k+step))
		}
		out = append(out, p.summary(lo, to))
		lo = to
	}
	return out
}

// between is a bound after a and not after b, short on the wire where it can be.
func between(a, b *Record) bound {
	if a.Stamp != b.Stamp {
		return bound{stamp: b.Stamp}
	}
	return bound{b.Stamp, b.hash}
}

// compareList sends what the peer lacks of a range and asks for what is missing here.
func (p *session) compareList(sp span, i, j int) []span {
	theirs := setOf(sp.hashes)
	p.out = append(p.out, job{i: i, j: j, not: theirs})
	missing := setOf(sp.hashes)
	p.set.slice(i, j, func(r *Record) bool {
		delete(missing, [shortHash]byte(r.hash[:]))
		return true
	})
	ask := span{lo: sp.lo, hi: sp.hi, mode: want}
	for _, h := range sp.hashes { // in their order
		if missing[h] {
			ask.hashes = append(ask.hashes, h)
			delete(missing, h)
		}
	}
	if len(ask.hashes) == 0 {
		return nil
	}
	return []span{ask}
}
