package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// A record that makes the process end would do so again after every start, on every server. So the hashes of the records that
// are about to be merged stand in a file that is mapped into memory: it outlives the process, whatever ends it, at the cost of a
// copy. Whoever finds hashes in it at the next start knows what the process was doing when it died.
//
//	died with one record   it is skipped: for an hour after the first death, for a day after the second, then for good
//	died with several      each is suspected, and merged alone the next time, so that the guilty one is found
//
// A power cut or a kill -9 at that very moment can accuse the innocent; hence the terms.
type poison struct {
	page []byte // the mapped file

	mu    sync.Mutex // guards what follows
	known map[hash]death
	alone map[hash]bool // suspects
}

type death struct {
	times int
	last  time.Time
	more  string // what a later version appended
}

// Poisoned is a record that this server skips, because the process ended while it merged it.
type Poisoned struct {
	Hash  string // of its signed bytes, in hex
	Times int
	Last  time.Time // when the process was started anew
	Until time.Time // it is tried again
}

const (
	journalFile  = "applying"
	journalMagic = "orpheus applying"
	journalSize  = len(journalMagic) + 4 + 32*maxPerFrame
)

var bucketPoison = []byte("poison") // hash -> deaths (1 B), seconds since 1970 (8 B), more, crc

// openPoison maps the journal of dir and counts what it tells of the life before.
func openPoison(dir string, d *disk, now time.Time) (*poison, error) {
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(int64(journalSize)); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	page, err := unix.Mmap(int(f.Fd()), 0, journalSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the journal: %w", err)
	}
	p := &poison{page: page, known: map[hash]death{}, alone: map[hash]bool{}}
	if err := p.recall(d, now); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// recall reads the verdicts of earlier lives and adds that of the last one.
func (p *poison) recall(d *disk, now time.Time) error {
	died := p.applying()
	err := d.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketPoison)
		if err != nil {
			return err
		}
		_ = b.ForEach(func(k, v []byte) error {
			if h, e, ok := decodeDeath(k, v); ok {
				p.known[h] = e
			}
			return nil
		})
		if len(died) != 1 {
			return nil
		}
		e := p.known[died[0]]
		e.times, e.last = e.times+1, now
		p.known[died[0]] = e
		return b.Put(died[0][:], e.encode())
	})
	if err != nil {
		return fmt.Errorf("record what the last process died of: %w", err)
	}
	if len(died) > 1 {
		for _, h := range died {
			p.alone[h] = true
		}
	}
	p.begin(nil)
	return nil
}

// applying are the hashes in the journal; none where it is new or unreadable.
func (p *poison) applying() (out []hash) {
	rest, ok := bytes.CutPrefix(p.page, []byte(journalMagic))
	if !ok {
		return nil
	}
	n := binary.BigEndian.Uint32(rest)
	for i := range min(n, maxPerFrame) {
		out = append(out, hash(rest[4+32*i:]))
	}
	return out
}

// begin notes what is about to be merged; nothing: it is done.
func (p *poison) begin(recs []*Record) {
	n := copy(p.page, journalMagic)
	if len(recs) > maxPerFrame {
		recs = recs[:maxPerFrame]
	}
	for i, r := range recs {
		copy(p.page[n+4+32*i:], r.hash[:])
	}
	binary.BigEndian.PutUint32(p.page[n:], uint32(len(recs)))
}

func (p *poison) close() { _ = unix.Munmap(p.page) }

func (e death) until() time.Time {
	switch e.times {
	case 0, 1:
		return e.last.Add(time.Hour)
	case 2:
		return e.last.Add(24 * time.Hour)
	}
	return e.last.AddDate(100, 0, 0)
}

func (e death) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{byte(min(e.times, 255))}, uint64(e.last.Unix()))
	return sealed(append(b, e.more...))
}

func decodeDeath(k, v []byte) (h hash, e death, ok bool) {
	v, ok = unsealed(v)
	if !ok || len(k) != len(h) || len(v) < 9 {
		return h, e, false
	}
	return hash(k), death{int(v[0]), time.Unix(int64(binary.BigEndian.Uint64(v[1:])), 0), string(v[9:])}, true
}

// skips tells whether a record must not be merged now.
func (p *poison) skips(h hash, now time.Time) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.known[h]
	return ok && now.Before(e.until())
}

// split cuts records into what may be merged together: suspects stand alone.
func (p *poison) split(recs []*Record) [][]*Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.alone) == 0 {
		return [][]*Record{recs}
	}
	var out [][]*Record
	var together []*Record
	for _, r := range recs {
		if p.alone[r.hash] {
			out = append(out, []*Record{r})
		} else {
			together = append(together, r)
		}
	}
	if len(together) > 0 {
		out = append(out, together)
	}
	return out
}

// survived clears a suspect that was merged.
func (p *poison) survived(recs []*Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range recs {
		delete(p.alone, r.hash)
	}
}

// Poisoned lists the records that this server skips, by hash.
func (s *Store) Poisoned() []Poisoned {
	s.poison.mu.Lock()
	defer s.poison.mu.Unlock()
	var out []Poisoned
	for h, e := range s.poison.known {
		if s.cfg.Now().Before(e.until()) {
			out = append(out, Poisoned{hex.EncodeToString(h[:]), e.times, e.last, e.until()})
		}
	}
	slices.SortFunc(out, func(a, b Poisoned) int { return bytes.Compare([]byte(a.Hash), []byte(b.Hash)) })
	return out
}

// merge steps an input that carries records from outside, noted in the journal for as long as it takes.
func (s *Store) merge(now time.Time, ev event) [][]Action {
	recs := slices.Concat(ev.receive, ev.judge, ev.relied)
	if ev.proposed != nil {
		recs = ev.proposed.current
	}
	if len(recs) == 0 {
		return [][]Action{s.step(now, ev)}
	}
	if parts := s.poison.split(ev.receive); len(ev.receive) > 0 && len(parts) > 1 {
		var out [][]Action
		for i, part := range parts {
			one := event{receive: part}
			if i == len(parts)-1 {
				one.id = ev.id
			}
			out = append(out, s.noted(now, one, part))
		}
		return out
	}
	return [][]Action{s.noted(now, ev, recs)}
}

func (s *Store) noted(now time.Time, ev event, recs []*Record) []Action {
	s.poison.begin(recs)
	acts := slices.Clone(s.step(now, ev))
	s.poison.begin(nil)
	s.poison.survived(recs)
	return acts
}
