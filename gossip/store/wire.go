package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Encoding of a record, version 1, as FORMATS.md has it. The flags say which parts are there. What follows the known fields is
// kept: the signed bytes travel as they are. An envelope is the record and its signature, each length-prefixed; a frame is a
// type byte and envelopes to its end.
const (
	wireVersion = 1

	flagParts   = 0x03 // Part
	flagDelete  = 0x04
	flagHuman   = 0x08
	flagContext = 0x10
	flagBasis   = 0x20
	flagRoot    = 0x40 // the root is another object
	flagHead    = 0x80
	flagBody    = 0x100
	flagBorn    = 0x200 // the record is not the creation
	flagCounts  = 0x400
	flagClaim   = 0x800

	frameRecords  = 'r'
	frameAnnounce = 'a'
)

// ErrFlood wraps that an author brought more by gossip than it may: nothing is wrong with the bytes, but they are neither merged
// nor to be relayed. Reconciliation brings the records.
var ErrFlood = errors.New("more records at once than one author may gossip")

// ErrPoison wraps whatever is wrong with bytes from another node: do not relay them.
var ErrPoison = errors.New("not a valid record")

// counted reports that somebody counted: records of versions before did not.
func (r *Record) counted() bool {
	raised, wrote := r.counts()
	return raised+wrote != 0
}

// encode returns the record's bytes and where its body ends in them.
func (r *Record) encode() (b []byte, body int) {
	b = make([]byte, 0, 256+len(r.Body)+len(r.context)*24)
	b = append(b, wireVersion)
	flags := uint64(r.Part) & flagParts
	for _, f := range [...]struct {
		on  bool
		bit uint64
	}{
		{r.Op == Delete, flagDelete}, {r.Human, flagHuman}, {len(r.context) > 0, flagContext},
		{!r.Human && r.Basis != Basis{}, flagBasis}, {r.Root != r.Key, flagRoot}, {!r.head.zero() || r.counted(), flagHead}, {r.Body != nil, flagBody},
		{r.born() != r.Stamp, flagBorn}, {r.counted(), flagCounts}, {r.Claim, flagClaim},
	} {
		if f.on {
			flags |= f.bit
		}
	}
	b = binary.AppendUvarint(b, flags)
	b = appendKey(b, r.Key)
	b = append(b, r.UID[:]...)
	b = appendString(b, r.Dot.Actor)
	b = binary.AppendUvarint(b, r.Dot.N)
	b = binary.AppendUvarint(b, uint64(r.Stamp))
	if flags&flagContext != 0 {
		b = appendContext(b, r.context, r.Dot.Actor)
	}
	if flags&flagBasis != 0 {
		b = appendString(b, r.Basis.Dot.Actor)
		b = binary.AppendUvarint(b, r.Basis.Dot.N)
		b = binary.AppendUvarint(b, uint64(r.Basis.Stamp))
	}
	if flags&flagRoot != 0 {
		b = appendKey(b, r.Root)
	}
	if flags&flagHead != 0 {
		raised, _ := r.counts()
		b = r.head.append(b, raised)
	}
	if flags&flagBody != 0 {
		b = appendString(b, string(r.Body))
	}
	body = len(b)
	if flags&flagBorn != 0 {
		b = binary.AppendUvarint(b, uint64(r.Born))
	}
	if flags&flagCounts != 0 {
		b = binary.AppendUvarint(binary.AppendUvarint(b, r.raised), r.wrote)
		for _, e := range r.context {
			b = binary.AppendUvarint(binary.AppendUvarint(b, e.raised), e.wrote)
		}
	}
	return b, body
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendKey(b []byte, k Key) []byte {
	return appendString(appendString(appendString(b, k.Kind), k.Namespace), k.Name)
}

func appendContext(b []byte, k knowledge, author string) []byte {
	b = binary.AppendUvarint(b, uint64(len(k)))
	for _, e := range k {
		if e.actor == author {
			e.actor = ""
		}
		b = appendString(b, e.actor)
		b = binary.AppendUvarint(b, e.seen)
		b = binary.AppendUvarint(b, e.human)
	}
	return b
}

func (h head) zero() bool {
	return h.deletion == 0 && h.grace == 0 && h.generation == 0 && len(h.removed) == 0
}

// append encodes the head; on the wire, the generation is the whole, as the author shows it.
func (h head) append(b []byte, raises int64) []byte {
	b = binary.AppendVarint(b, h.deletion)
	b = binary.AppendVarint(b, h.grace)
	b = binary.AppendVarint(b, h.generation+raises)
	b = binary.AppendUvarint(b, uint64(len(h.removed)))
	for _, r := range h.removed {
		b = appendString(b, r.name)
		b = binary.AppendUvarint(b, r.epoch)
	}
	return b
}

// seal encodes and signs a record that was filled in.
func (r *Record) seal(sign func([]byte) ([]byte, error)) error {
	r.complete()
	msg, body := r.encode()
	if r.msg = msg; r.Body != nil {
		r.Body = msg[body-len(r.Body) : body : body]
	}
	r.hash = sha256.Sum256(r.msg)
	if len(r.msg) > maxRecord {
		return fmt.Errorf("record of %d bytes: %w", len(r.msg), ErrTooLarge)
	}
	if sign == nil {
		return nil
	}
	sig, err := sign(r.msg)
	if err != nil {
		return fmt.Errorf("sign record: %w", err)
	}
	r.sig = sig
	return nil
}

// decodeRecord reads a record; it keeps msg and sig, which must not change afterwards. It checks everything but the
// signature.
func decodeRecord(msg, sig []byte) (*Record, error) {
	if len(msg) > maxRecord || len(sig) > maxSig {
		return nil, fmt.Errorf("%w: %d bytes", ErrPoison, len(msg)+len(sig))
	}
	d := decoder{b: msg}
	if v := d.byte(); v != wireVersion {
		return nil, fmt.Errorf("%w: version %d", ErrPoison, v)
	}
	r := &Record{msg: msg, sig: sig}
	flags := d.uint()
	r.Part, r.Human, r.Claim = Part(flags&flagParts), flags&flagHuman != 0, flags&flagClaim != 0
	if flags&flagDelete != 0 {
		r.Op = Delete
	}
	r.Key = d.key()
	copy(r.UID[:], d.take(16))
	r.Dot = Dot{d.string(maxActor), d.uint()}
	r.Stamp = Stamp(d.uint())
	r.Root = r.Key
	if flags&flagContext != 0 {
		r.context = d.context(r.Dot.Actor)
	}
	if flags&flagBasis != 0 {
		r.Basis = Basis{Dot{d.string(maxActor), d.uint()}, Stamp(d.uint())}
	}
	if flags&flagRoot != 0 {
		r.Root = d.key()
	}
	if flags&flagHead != 0 {
		r.head = d.head()
	}
	if flags&flagBody != 0 {
		r.Body = d.take(d.length(MaxBody))
	}
	if flags&flagBorn != 0 {
		r.Born = Stamp(d.uint())
	}
	if flags&flagCounts != 0 {
		r.raised, r.wrote = d.count(), d.count()
		for i := range r.context {
			r.context[i].raised, r.context[i].wrote = d.count(), d.count()
		}
	}
	if d.err == nil {
		d.err = r.complete().check()
	}
	if d.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPoison, d.err)
	}
	raised, _ := r.counts()
	r.head.generation -= raised
	r.hash = sha256.Sum256(msg)
	return r, nil
}

func (r *Record) check() error {
	switch {
	case r.Part >= Parts:
		return errors.New("unknown part")
	case r.Part != Intent && (r.Op != Put || len(r.context) > 0 || !r.head.zero()):
		return errors.New("a status or observation can only be put")
	case r.Claim && (r.Part != Intent || r.Human):
		return errors.New("a claim is a machine's intent")
	case r.Dot.Actor == "" || r.Dot.N == 0:
		return errors.New("no author")
	case r.context.of(r.Dot.Actor).seen >= r.Dot.N || r.context.of(r.Dot.Actor).human >= r.Dot.N:
		return errors.New("the author's own counter fell")
	case r.Basis.Stamp > r.Stamp:
		return errors.New("older than what it builds on")
	case r.Born > r.Stamp:
		return errors.New("older than its own life")
	}
	if err := r.Key.check(); err != nil {
		return err
	}
	return r.Root.check()
}

func (k Key) check() error {
	switch {
	case k.Name == "" || strings.Count(k.Kind, "/") != 1:
		return fmt.Errorf("key %q: a kind needs one '/', a name some letters", k)
	case len(k.Kind) > maxField || len(k.Namespace) > maxField || len(k.Name) > maxField:
		return fmt.Errorf("key: a field is longer than %d bytes", maxField)
	case strings.ContainsAny(k.Namespace, "/\x00") || strings.ContainsAny(k.Name, "/\x00") || strings.Contains(k.Kind, "\x00"):
		return fmt.Errorf("key %q: '/' or NUL in a name", k)
	}
	return nil
}

// decoder reads fields until the first error; afterwards everything is zero.
type decoder struct {
	b   []byte
	err error
}

var errShort = errors.New("truncated or over a bound")

func (d *decoder) fail() { d.b, d.err = nil, errShort }

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) length(most int) int {
	v := d.uint()
	if v > uint64(most) {
		d.fail()
		return 0
	}
	return int(v)
}

// count is bounded so that no sum of them overflows.
func (d *decoder) count() uint64 {
	v := d.uint()
	if v > maxCount {
		d.fail()
		return 0
	}
	return v
}

func (d *decoder) string(most int) string { return string(d.take(d.length(most))) }

func (d *decoder) key() Key {
	return Key{d.string(maxField), d.string(maxField), d.string(maxField)}
}

func (d *decoder) context(author string) knowledge {
	n := d.length(maxContext)
	k := make(knowledge, 0, min(n, len(d.b)/3))
	for range n {
		e := known{actor: d.string(maxActor), seen: d.uint(), human: d.uint()}
		if e.actor == "" {
			e.actor = author
		}
		if d.err != nil || len(k) > 0 && k[len(k)-1].actor >= e.actor {
			d.fail()
			return nil
		}
		k = append(k, e)
	}
	return k
}

func (d *decoder) head() head {
	h := head{deletion: d.int(), grace: d.int(), generation: d.int()}
	n := d.length(maxRemoved)
	for range n {
		r := removal{d.string(maxField), d.uint()}
		if d.err != nil || len(h.removed) > 0 && h.removed[len(h.removed)-1].name >= r.name {
			d.fail()
			return head{}
		}
		h.removed = append(h.removed, r)
	}
	return h
}

func (r *Record) appendEnvelope(b []byte) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(r.msg))), r.msg...)
	return append(binary.AppendUvarint(b, uint64(len(r.sig))), r.sig...)
}

// encodeFrame puts records into one frame.
func encodeFrame(recs []*Record) []byte {
	n := 1
	for _, r := range recs {
		n += r.size()
	}
	b := append(make([]byte, 0, n), frameRecords)
	for _, r := range recs {
		b = r.appendEnvelope(b)
	}
	return b
}

// decodeFrame undoes encodeFrame. The records keep their bytes apart from the frame's.
func decodeFrame(b []byte) ([]*Record, error) {
	if len(b) == 0 || b[0] != frameRecords || len(b) > maxFrame {
		return nil, fmt.Errorf("%w: not a frame of records", ErrPoison)
	}
	d := decoder{b: b[1:]}
	var recs []*Record
	for len(d.b) > 0 {
		if len(recs) == maxPerFrame {
			return nil, fmt.Errorf("%w: more than %d records in a frame", ErrPoison, maxPerFrame)
		}
		r, err := d.envelope(new(pieces))
		if err != nil {
			return nil, err
		}
		recs = append(recs, r)
	}
	return recs, nil
}

// envelope reads one record, which gets memory of its own, out of p.
func (d *decoder) envelope(p *pieces) (*Record, error) {
	msg := d.take(d.length(maxRecord))
	sig := d.take(d.length(maxSig))
	if d.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPoison, d.err)
	}
	own := append(append(p.take(len(msg)+len(sig)), msg...), sig...)
	return decodeRecord(own[:len(msg):len(msg)], own[len(msg):])
}

// frames packs records into frames that gossip may carry, and announces by stamp and hash the ones that are too large.
func frames(recs []*Record) [][]byte {
	var out [][]byte
	var batch []*Record
	n := 1
	flush := func() {
		if len(batch) > 0 {
			out = append(out, encodeFrame(batch))
			batch, n = nil, 1
		}
	}
	for _, r := range recs {
		if r.size()+1 > maxInline {
			out = append(out, announcement(r))
			continue
		}
		if n+r.size() > maxInline || len(batch) == maxPerFrame {
			flush()
		}
		batch, n = append(batch, r), n+r.size()
	}
	flush()
	return out
}

func announcement(r *Record) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{frameAnnounce}, uint64(r.Stamp)), r.hash[:]...)
}

// decodeAnnouncement returns a record that has nothing but its place in the order.
func decodeAnnouncement(b []byte) (*Record, error) {
	if len(b) != 1+8+32 || b[0] != frameAnnounce {
		return nil, fmt.Errorf("%w: not an announcement", ErrPoison)
	}
	return &Record{Stamp: Stamp(binary.BigEndian.Uint64(b[1:])), hash: hash(b[9:])}, nil
}
