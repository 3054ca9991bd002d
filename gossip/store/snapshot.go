package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	stdhash "hash"
	"io"
)

// A snapshot is the whole replica as one stream: what a backup holds (FORMATS.md).
//
//	magic, version, then sections: type (1 B), length (uvarint), payload
//	'x' attachment: name, data     what the caller wants beside the records; before them
//	'h' horizons
//	'r' frame of records           as often as it takes
//	'e' end: number of records, SHA-256 of all bytes before this section
//
// A reader skips sections that it does not know. What has no end section was cut short.
const (
	snapshotMagic   = "orpheus snapshot"
	snapshotVersion = 1

	sectionAttached = 'x'
	sectionHorizons = 'h'
	sectionRecords  = 'r'
	sectionEnd      = 'e'
)

// ErrSnapshot wraps what is wrong with a snapshot.
var ErrSnapshot = errors.New("not a whole snapshot")

// Attachment is something that travels beside the records of a snapshot: at most 1 MiB, its name at most 253 bytes.
type Attachment struct {
	Name string
	Data []byte
}

// Snapshot writes what this replica held on disk at one moment, tombstones and siblings included, and returns how many
// records that were. Writes go on meanwhile and are not in it. ctx is looked at between frames.
func (s *Store) Snapshot(ctx context.Context, w io.Writer, attached ...Attachment) (records int, err error) {
	known := s.known.Load()
	set, horizons := known.set, known.hello.horizons
	out := newSnapshotWriter(w)
	for _, a := range attached {
		out.section(sectionAttached, appendString(appendString(nil, a.Name), string(a.Data)))
	}
	out.section(sectionHorizons, appendHorizons(nil, horizons))
	out.records(ctx, set)
	if err := out.end(set.size()); err != nil {
		return 0, fmt.Errorf("write snapshot: %w", err)
	}
	return set.size(), nil
}

// snapshotWriter keeps the first error and does nothing after it.
type snapshotWriter struct {
	w   *bufio.Writer
	sum stdhash.Hash
	err error
}

func newSnapshotWriter(w io.Writer) *snapshotWriter {
	out := &snapshotWriter{w: bufio.NewWriterSize(w, sendBytes), sum: sha256.New()}
	out.write(append([]byte(snapshotMagic), snapshotVersion))
	return out
}

func (o *snapshotWriter) write(b []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(b)
		o.sum.Write(b)
	}
}

func (o *snapshotWriter) section(kind byte, payload []byte) {
	if len(payload) > maxFrame {
		o.err = fmt.Errorf("a section of %d bytes is over the bound of %d", len(payload), maxFrame)
	}
	o.write(binary.AppendUvarint([]byte{kind}, uint64(len(payload))))
	o.write(payload)
}

func (o *snapshotWriter) records(ctx context.Context, set *node[*Record]) {
	var batch []*Record
	size := 0
	flush := func() {
		if len(batch) > 0 {
			o.section(sectionRecords, encodeFrame(batch))
			batch, size = batch[:0], 0
		}
		if o.err == nil {
			o.err = ctx.Err()
		}
	}
	set.all(func(r *Record) bool {
		if len(batch) == sendRecords || size+r.size() > sendBytes {
			flush()
		}
		batch, size = append(batch, r), size+r.size()
		return o.err == nil
	})
	flush()
}

func (o *snapshotWriter) end(n int) error {
	total := o.sum.Sum(nil)
	o.section(sectionEnd, append(binary.AppendUvarint(nil, uint64(n)), total...))
	if o.err != nil {
		return o.err
	}
	return o.w.Flush()
}

// SnapshotReader reads a snapshot once, front to back. It holds one frame at a time.
type SnapshotReader struct {
	r        *bufio.Reader
	sum      stdhash.Hash
	attached map[string][]byte
	horizons []horizonOf
	records  int
	pending  []*Record
	done     bool
}

// OpenSnapshot reads the head of a snapshot and what is attached to it.
func OpenSnapshot(r io.Reader) (*SnapshotReader, error) {
	s := &SnapshotReader{r: bufio.NewReaderSize(r, sendBytes), sum: sha256.New(), attached: map[string][]byte{}}
	head := make([]byte, len(snapshotMagic)+1)
	if _, err := io.ReadFull(s.r, head); err != nil || string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrSnapshot)
	}
	if v := head[len(snapshotMagic)]; v != snapshotVersion {
		return nil, fmt.Errorf("%w: its format is version %d, this program reads %d", ErrSnapshot, v, snapshotVersion)
	}
	s.sum.Write(head)
	var err error
	if s.pending, err = s.next(); errors.Is(err, io.EOF) {
		err = nil
	}
	return s, err
}

// Attached is what the snapshot carries under this name, nil for nothing.
func (s *SnapshotReader) Attached(name string) []byte { return s.attached[name] }

// next returns a frame of records, or io.EOF after the last one of a snapshot that is whole.
func (s *SnapshotReader) next() ([]*Record, error) {
	if recs := s.pending; recs != nil {
		s.pending = nil
		return recs, nil
	}
	for !s.done {
		before := s.sum.Sum(nil)
		kind, payload, err := s.section()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
		d := decoder{b: payload}
		switch kind {
		case sectionAttached:
			name := d.string(maxField)
			s.attached[name] = d.take(d.length(maxAttached))
			if len(s.attached) > maxAttachments {
				d.fail()
			}
		case sectionHorizons:
			s.horizons = d.horizons()
		case sectionRecords:
			recs, err := decodeFrame(payload)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
			}
			if s.records += len(recs); len(recs) > 0 {
				return recs, nil
			}
		case sectionEnd:
			if n, sum := d.uint(), d.take(sha256.Size); n != uint64(s.records) || string(sum) != string(before) {
				return nil, fmt.Errorf("%w: its end does not match what came before", ErrSnapshot)
			}
			s.done = true
		}
		if d.err != nil {
			return nil, fmt.Errorf("%w: section %q: %w", ErrSnapshot, kind, d.err)
		}
	}
	return nil, io.EOF
}

func (s *SnapshotReader) section() (kind byte, payload []byte, err error) {
	if kind, err = s.r.ReadByte(); err != nil {
		return 0, nil, short(err)
	}
	n, err := binary.ReadUvarint(s.r)
	if err != nil {
		return 0, nil, short(err)
	}
	if n > maxFrame {
		return 0, nil, fmt.Errorf("a section of %d bytes", n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(s.r, payload); err != nil {
		return 0, nil, short(err)
	}
	s.sum.Write(binary.AppendUvarint([]byte{kind}, n))
	s.sum.Write(payload)
	return kind, payload, nil
}

// short says that the stream ended where it must not: before the end section.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is cut short")
	}
	return err
}

func (d *decoder) horizons() []horizonOf {
	var out []horizonOf
	for range d.length(maxHorizons) {
		h := horizonOf{d.string(maxField), Stamp(d.uint())}
		if d.err != nil {
			return nil
		}
		out = append(out, h)
	}
	return out
}
