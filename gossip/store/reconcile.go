package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
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
	reconVersion = 1

	turnFrame = 't' // ranges: the end of a turn
	helloByte = 'h'
)

// Stats tell what a reconciliation cost and brought.
type Stats struct {
	Turns          int
	Sent, Received int   // records
	Merged         int   // of the received: were news
	Out, In        int64 // bytes
}

// Reconcile talks to a peer's ServeReconcile over rw until both hold the same records. It does not close rw. Where rw has
// SetDeadline, every turn gets 60 s; ctx is looked at between turns.
func (s *Store) Reconcile(ctx context.Context, rw io.ReadWriter) (Stats, error) {
	return s.reconcile(ctx, rw, true)
}

// ServeReconcile is the other end of Reconcile.
func (s *Store) ServeReconcile(ctx context.Context, rw io.ReadWriter) (Stats, error) {
	return s.reconcile(ctx, rw, false)
}

func (s *Store) reconcile(ctx context.Context, rw io.ReadWriter, first bool) (Stats, error) {
	sess := &session{s: s, ctx: ctx, set: s.set.Load(), conn: conn{rw: rw}, horizons: *s.horizon.Load()}
	err := sess.run(first)
	sess.stats.Out, sess.stats.In = sess.conn.out, sess.conn.in
	if err != nil {
		return sess.stats, fmt.Errorf("reconcile: %w", err)
	}
	return sess.stats, nil
}

type session struct {
	s     *Store
	ctx   context.Context
	set   *node[*Record]
	conn  conn
	stats Stats

	horizons []horizonOf // ours, when it began
	digest   *[8]byte    // of the peer's
	peers    []horizonOf // the peer's, where it told them
}

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

func (p *session) run(first bool) error {
	whole := []span{p.summary(bound{}, end)}
	if first {
		if err := p.say(whole, true); err != nil {
			return err
		}
	}
	for turn := 1; turn <= maxTurns; turn++ {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		p.stats.Turns = turn
		spans, err := p.hear(turn == 1)
		if err != nil {
			return err
		}
		if len(spans) == 0 {
			return p.done()
		}
		answer, err := p.answer(spans)
		if err != nil {
			return err
		}
		if err := p.say(answer, !first && turn == 1); err != nil {
			return err
		}
		if len(answer) == 0 {
			return p.done()
		}
	}
	return fmt.Errorf("no end after %d turns", maxTurns)
}

// done adopts the peer's horizons: both sides now hold what the other held.
func (p *session) done() error {
	if len(p.peers) == 0 {
		return nil
	}
	return p.s.hand(p.ctx, event{horizon: p.peers})
}

// summary is the fingerprint of our records from lo to hi.
func (p *session) summary(lo, hi bound) span {
	i, before := p.set.before(lo.probe())
	j, upTo := p.set.before(hi.probe())
	d := upTo.minus(before).digest(j - i)
	return span{lo: lo, hi: hi, mode: fingerprint, finger: [shortHash]byte(d[:]), count: j - i}
}

// answer works off what the peer said. Records that it lacks are sent at once, before the turn's end.
func (p *session) answer(spans []span) ([]span, error) {
	var out []span
	hashes := 0
	for _, sp := range spans {
		if sp.mode == want {
			if err := p.sendWanted(sp); err != nil {
				return nil, err
			}
			continue
		}
		if sp.mode == fingerprint && (len(out) >= turnRanges-branches || hashes >= turnHashes) {
			out = p.later(out, sp)
			continue
		}
		more, err := p.compare(sp)
		if err != nil {
			return nil, err
		}
		for _, m := range more {
			hashes += len(m.hashes)
		}
		out = append(out, more...)
	}
	return out, nil
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

func (p *session) compare(sp span) ([]span, error) {
	mine := p.summary(sp.lo, sp.hi)
	i, _ := p.set.before(sp.lo.probe())
	j := i + mine.count
	switch {
	case sp.mode == listing:
		return p.compareList(sp, i, j)
	case mine.finger == sp.finger:
		return nil, nil
	case sp.count == 0:
		return nil, p.send(func(yield func(*Record) bool) { p.set.slice(i, j, yield) })
	case mine.count <= leaf:
		return []span{p.list(sp.lo, sp.hi, i, j)}, nil
	}
	return p.split(sp.lo, sp.hi, i, j), nil
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
func (p *session) compareList(sp span, i, j int) ([]span, error) {
	theirs := make(map[[shortHash]byte]bool, len(sp.hashes))
	for _, h := range sp.hashes {
		theirs[h] = true
	}
	var missing []*Record
	p.set.slice(i, j, func(r *Record) bool {
		h := [shortHash]byte(r.hash[:])
		if !theirs[h] {
			missing = append(missing, r)
		}
		delete(theirs, h)
		return true
	})
	err := p.send(func(yield func(*Record) bool) {
		for _, r := range missing {
			if !yield(r) {
				return
			}
		}
	})
	ask := span{lo: sp.lo, hi: sp.hi, mode: want}
	for _, h := range sp.hashes { // in their order
		if theirs[h] {
			ask.hashes = append(ask.hashes, h)
		}
	}
	if err != nil || len(ask.hashes) == 0 {
		return nil, err
	}
	return []span{ask}, nil
}

func (p *session) sendWanted(sp span) error {
	asked := make(map[[shortHash]byte]bool, len(sp.hashes))
	for _, h := range sp.hashes {
		asked[h] = true
	}
	i, _ := p.set.before(sp.lo.probe())
	j, _ := p.set.before(sp.hi.probe())
	return p.send(func(yield func(*Record) bool) {
		p.set.slice(i, j, func(r *Record) bool { return !asked[[shortHash]byte(r.hash[:])] || yield(r) })
	})
}

// send puts records on the wire in bounded frames.
func (p *session) send(recs func(yield func(*Record) bool)) error {
	var batch []*Record
	var err error
	size := 0
	flush := func() bool {
		if len(batch) > 0 {
			p.stats.Sent += len(batch)
			p.conn.deadline()
			err = p.conn.write(encodeFrame(batch))
			batch, size = batch[:0], 0
		}
		if err == nil {
			err = p.ctx.Err()
		}
		return err == nil
	}
	recs(func(r *Record) bool {
		if len(batch) == sendRecords || len(batch) > 0 && size+r.size() > sendBytes {
			if !flush() {
				return false
			}
		}
		batch, size = append(batch, r), size+r.size()
		return true
	})
	if err == nil {
		flush()
	}
	return err
}

// say ends our turn.
func (p *session) say(spans []span, hello bool) error {
	b := []byte{turnFrame}
	if hello {
		b = p.appendHello(b)
	}
	p.conn.deadline()
	return p.conn.write(encodeSpans(b, spans))
}

// hear takes the peer's whole turn in, merging records as they come.
func (p *session) hear(hello bool) ([]span, error) {
	for {
		p.conn.deadline()
		b, err := p.conn.read()
		if err != nil {
			return nil, err
		}
		if len(b) > 0 && b[0] == frameRecords {
			if err := p.take(b); err != nil {
				return nil, err
			}
			continue
		}
		if len(b) == 0 || b[0] != turnFrame {
			return nil, errors.New("neither records nor a turn")
		}
		d := decoder{b: b[1:]}
		if hello {
			p.decodeHello(&d)
		}
		spans := decodeSpans(&d)
		return spans, d.err
	}
}

// take merges a frame of records and waits until they are on disk: the peer is held back by the pace of ours.
func (p *session) take(frame []byte) error {
	recs, err := decodeFrame(frame)
	if err != nil {
		return err
	}
	p.stats.Received += len(recs)
	if recs, err = p.s.verify(recs); err != nil || len(recs) == 0 {
		return err
	}
	r, err := p.s.ask(p.ctx, event{receive: recs})
	p.stats.Merged += len(r.current)
	return err
}

// A hello is the version and a digest of our horizons; the horizons themselves follow only where the peer's digest,
// heard before, is another one.
func (p *session) appendHello(b []byte) []byte {
	mine := digestHorizons(p.horizons)
	b = append(append(b, helloByte, reconVersion), mine[:]...)
	tell := p.horizons
	if p.digest == nil || *p.digest == mine {
		tell = nil
	}
	return appendHorizons(b, tell)
}

func appendHorizons(b []byte, hs []horizonOf) []byte {
	b = binary.AppendUvarint(b, uint64(len(hs)))
	for _, h := range hs {
		b = binary.AppendUvarint(appendString(b, h.kind), uint64(h.at))
	}
	return b
}

func digestHorizons(hs []horizonOf) [8]byte {
	d := sha256.Sum256(appendHorizons(nil, hs))
	return [8]byte(d[:])
}

func (p *session) decodeHello(d *decoder) {
	if d.byte() != helloByte || d.byte() != reconVersion {
		d.fail()
		return
	}
	var digest [8]byte
	copy(digest[:], d.take(8))
	p.digest = &digest
	p.peers = d.horizons()
}

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
			sp.count = d.length(1 << 30)
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

// conn frames a stream by lengths and counts its bytes.
type conn struct {
	rw      io.ReadWriter
	in, out int64
}

func (c *conn) deadline() {
	if d, ok := c.rw.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(turnTimeout))
	}
}

func (c *conn) write(frame []byte) error {
	b := append(binary.AppendUvarint(make([]byte, 0, len(frame)+4), uint64(len(frame))), frame...)
	n, err := c.rw.Write(b)
	c.out += int64(n)
	return err
}

func (c *conn) read() ([]byte, error) {
	n := uint64(0)
	for shift := 0; ; shift += 7 {
		var one [1]byte
		if _, err := io.ReadFull(c.rw, one[:]); err != nil {
			return nil, err
		}
		c.in++
		n |= uint64(one[0]&0x7f) << shift
		if one[0] < 0x80 {
			break
		}
		if shift > 21 {
			return nil, errShort
		}
	}
	if n > maxTurn {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, errShort)
	}
	b := make([]byte, n)
	k, err := io.ReadFull(c.rw, b)
	c.in += int64(k)
	return b, err
}
