package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// A damaged file is moved aside and read page by page, without following any pointer of it: a page that looks like a leaf gives
// what is in it, and an entry counts if its own checksum and its hash say so. That finds more than is wanted, for pages that
// are free hold what was there before; so what was found is merged by the core's own rules, and what later records of the
// same file replaced falls out again.

const (
	boltHeader  = 16 // of a page: id u64, flags u16, count u16, overflow u32; of a bucket: root u64, sequence u64
	boltElement = 16 // of a leaf: flags u32, pos u32, key u32, value u32
	boltLeaf    = 0x02
	boltBucket  = 0x01 // of an element: its value is a bucket
)

// salvage reads what can still be read of a bbolt file: the records that count, in order.
func salvage(path string) ([]*Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("salvage: %w", err)
	}
	defer f.Close()
	size := int64(os.Getpagesize())
	var recs []*Record
	head := make([]byte, boltHeader)
	for at := int64(0); ; at += size {
		if _, err := f.ReadAt(head, at); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			continue // a page that the disk does not give back: the next one may be well
		}
		over := binary.LittleEndian.Uint32(head[12:])
		if binary.LittleEndian.Uint16(head[8:])&boltLeaf == 0 || over > maxOverflow {
			continue
		}
		page := make([]byte, (int64(over)+1)*size)
		n, _ := f.ReadAt(page, at)
		recs = append(recs, leafRecords(page[:n], false)...)
	}
	slices.SortFunc(recs, func(a, b *Record) int { return a.compare(b) })
	recs = slices.CompactFunc(recs, func(a, b *Record) bool { return a.hash == b.hash })
	return counting(recs), nil
}

// leafRecords reads a leaf and the small buckets that are kept within it. Those hold no others: followed ever deeper, elements of one page
// that point to the same place would be read without end.
func leafRecords(page []byte, within bool) (out []*Record) {
	if len(page) < boltHeader {
		return nil
	}
	count := int(binary.LittleEndian.Uint16(page[10:]))
	for i := range count {
		at := boltHeader + i*boltElement
		if at+boltElement > len(page) {
			break
		}
		e := page[at:]
		pos, key, val := uint64(binary.LittleEndian.Uint32(e[4:])), uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))
		if pos+key+val > uint64(len(e)) {
			continue
		}
		k, v := e[pos:pos+key], e[pos+key:pos+key+val]
		if binary.LittleEndian.Uint32(e)&boltBucket != 0 {
			if !within && len(v) > 2*boltHeader && string(k) == string(bucketRecords) {
				out = append(out, leafRecords(v[boltHeader:], true)...)
			}
			continue
		}
		if len(k) != 8+32 {
			continue
		}
		if r, err := decodeStored(k, v); err == nil {
			out = append(out, r)
		}
	}
	return out
}

// counting leaves out what others of the records replace. They are sorted, and there is no horizon.
func counting(recs []*Record) []*Record {
	cfg := Config{Class: func(Key) Class { return Durable }}
	c := newCore(&cfg)
	c.load(&saved{records: recs, horizon: map[string]Stamp{}}, newView(1))
	out := make([]*Record, 0, c.set.size())
	c.set.all(func(r *Record) bool { out = append(out, r); return true })
	return out
}

// putSalvaged keeps what was read out of a damaged file until a person decides, or peers turn out to have it. It is as many
// as the file held: nothing of it may be elsewhere.
func (d *disk) putSalvaged(recs []*Record) error {
	for part := range slices.Chunk(recs, 1000) {
		err := d.db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucketSalvaged)
			for _, r := range part {
				if err == nil {
					err = b.Put(storedKey(r), storedValue(r))
				}
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("keep what was salvaged: %w", err)
		}
	}
	return nil
}
