package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	bucketRecords  = []byte("records") // stamp (8 B, big endian) + hash (32 B) -> crc32c (4 B) + envelope
	bucketLost     = []byte("lost")    // likewise: records from before the horizon
	bucketHorizon  = []byte("horizon") // kind -> stamp
	bucketMeta     = []byte("meta")
	bucketSalvaged = []byte("salvaged")  // likewise: records read out of a damaged file; missing where there are none
	metaMarks      = []byte("marks")     // version (1 B), dot counter, stamp, revision (8 B each): none of them may fall
	metaForgetful  = []byte("forgetful") // there where this disk was lost, or is an old copy, and no peer has told yet what was forgotten
	castagnoli     = crc32.MakeTable(crc32.Castagnoli)
)

// errCorrupt marks what only moving the file aside can mend.
var errCorrupt = errors.New("the database is corrupt")

// disk is the bbolt file. One goroutine at a time commits.
type disk struct {
	db   *bolt.DB
	lost int    // records in lost-and-found
	more []byte // of the marks: what a later version appended
}

// saved is all that a start reads from disk.
type saved struct {
	marks   marks
	forgot  bool
	records []*Record // in order
	horizon map[string]Stamp
}

// batch is one transaction.
type batch struct {
	ops     []diskOp // in order
	lose    []*Record
	drop    []*Record // out of lost-and-found
	horizon []horizonOf
	marks   marks
	mark    bool           // the marks alone are worth a transaction
	forgot  bool           // the replica is forgetful then
	told    bool           // the hello is another one
	hello   *hello         // true of set
	after   []effect       // to be done once it is on disk
	set     *node[*Record] // what is on disk then
}

type diskOp struct {
	rec *Record
	del bool
}

func (b *batch) dirty() bool { return b.mark || len(b.ops)+len(b.lose)+len(b.drop)+len(b.horizon) > 0 }

func (b *batch) empty() bool { return !b.dirty() && len(b.after) == 0 && !b.told }

// openDisk opens name in dir, or moves it aside and begins a new one where it is corrupt. quarantined is the new path of
// the corrupt file.
func openDisk(dir string, now time.Time) (d *disk, s *saved, quarantined string, cause error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, "", nil, fmt.Errorf("open store: %w", err)
	}
	path := filepath.Join(dir, "store.db")
	d, s, err = loadDisk(path)
	if err == nil || !errors.Is(err, errCorrupt) {
		return d, s, "", nil, err
	}
	cause = err
	quarantined = fmt.Sprintf("%s.corrupt-%s", path, now.UTC().Format("20060102T150405.000000000Z"))
	if err := os.Rename(path, quarantined); err != nil {
		return nil, nil, "", cause, fmt.Errorf("move the corrupt database aside: %w", err)
	}
	d, s, err = loadDisk(path)
	return d, s, quarantined, cause, err
}

// movedAside finds the newest corrupt file of an earlier life in dir; "" where there is none.
func movedAside(dir string) string {
	found, err := filepath.Glob(filepath.Join(dir, "store.db.corrupt-*")) // sorted, and so by time
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// loadDisk opens and reads the whole file. bbolt panics on some damage, and a file cut short faults: both mean corrupt.
func loadDisk(path string) (d *disk, s *saved, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var db *bolt.DB
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("open %s: %w: %v", path, errCorrupt, p)
		}
		if err != nil && db != nil {
			closeQuietly(db)
		}
	}()
	db, err = bolt.Open(path, 0o600, options())
	if err != nil {
		return nil, nil, openError(path, err)
	}
	d = &disk{db: db}
	if err := d.prepare(); err != nil {
		return nil, nil, openError(path, err)
	}
	s = &saved{horizon: map[string]Stamp{}}
	if err := db.View(func(tx *bolt.Tx) error { return d.read(tx, s) }); err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", path, err)
	}
	// Reading all of the file made all of it resident, beside the records that were made of it. A new mapping holds only the
	// pages that are written to from now on.
	if err := db.Close(); err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", path, err)
	}
	if db, err = bolt.Open(path, 0o600, options()); err != nil {
		return nil, nil, fmt.Errorf("open %s anew: %w", path, err)
	}
	d.db = db
	return d, s, nil
}

// options: the list of free pages is kept on disk. Without it bbolt walks the file in a goroutine of its own, where a damaged
// page panics out of our reach.
func options() *bolt.Options {
	return &bolt.Options{Timeout: openTimeout, FreelistType: bolt.FreelistMapType}
}

// openError tells damage from circumstances: another process, a full or read-only disk, missing rights.
func openError(path string, err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("open %s: another process holds it: %w", path, err)
	case errors.As(err, &errno):
		return fmt.Errorf("open %s: %w", path, err)
	}
	return fmt.Errorf("open %s: %w: %w", path, errCorrupt, err)
}

func closeQuietly(db *bolt.DB) {
	defer func() { _ = recover() }()
	_ = db.Close()
}

// prepare makes the buckets of a new file; an existing one is not written to.
func (d *disk) prepare() error {
	missing := false
	err := d.db.View(func(tx *bolt.Tx) error {
		missing = tx.Bucket(bucketMeta) == nil
		return nil
	})
	if err != nil || !missing {
		return err
	}
	return d.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketRecords, bucketLost, bucketHorizon, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *disk) read(tx *bolt.Tx, s *saved) error {
	for _, name := range [][]byte{bucketRecords, bucketLost, bucketHorizon, bucketMeta} {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: bucket %s is missing", errCorrupt, name)
		}
	}
	var err error
	if m := tx.Bucket(bucketMeta).Get(metaMarks); m != nil {
		if s.marks, d.more, err = decodeMarks(m); err != nil {
			return err
		}
	}
	s.forgot = tx.Bucket(bucketMeta).Get(metaForgetful) != nil
	err = tx.Bucket(bucketHorizon).ForEach(func(k, v []byte) (err error) {
		s.horizon[string(k)], _, err = decodeHorizon(k, v)
		return err
	})
	if err != nil {
		return err
	}
	d.lost = tx.Bucket(bucketLost).Stats().KeyN
	names, pieces := names{}, pieces{size: 256 << 10}
	return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
		r, err := pieces.decode(k, v)
		if err != nil {
			return err
		}
		names.share(r)
		s.records = append(s.records, r)
		return nil
	})
}

// commit writes a batch in one transaction and returns once it is fsynced.
func (d *disk) commit(b *batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("commit: %w: %v", errCorrupt, p)
		}
	}()
	lost := d.lost
	err = d.db.Update(func(tx *bolt.Tx) error {
		recs := tx.Bucket(bucketRecords)
		for _, op := range b.ops {
			if err := op.apply(recs); err != nil {
				return err
			}
		}
		for _, h := range b.horizon {
			if err := h.put(tx.Bucket(bucketHorizon)); err != nil {
				return err
			}
		}
		if lost, err = putLost(tx.Bucket(bucketLost), b.lose, d.lost); err != nil {
			return err
		}
		if lost, err = dropLost(tx, b.drop, lost); err != nil {
			return err
		}
		if b.forgot {
			err = tx.Bucket(bucketMeta).Put(metaForgetful, sealed(nil))
		} else {
			err = tx.Bucket(bucketMeta).Delete(metaForgetful)
		}
		if err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(metaMarks, b.marks.encode(d.more))
	})
	if err == nil {
		d.lost = lost
	}
	return err
}

// put raises a horizon, and leaves what a later version wrote beside it.
func (h horizonOf) put(b *bolt.Bucket) error {
	var more []byte
	if old := b.Get([]byte(h.kind)); old != nil {
		_, more, _ = decodeHorizon([]byte(h.kind), old)
	}
	return b.Put([]byte(h.kind), h.encode(more))
}

func (op diskOp) apply(b *bolt.Bucket) error {
	if op.del {
		return b.Delete(storedKey(op.rec))
	}
	return b.Put(storedKey(op.rec), storedValue(op.rec))
}

// putLost keeps the newest maxLost.
func putLost(b *bolt.Bucket, recs []*Record, n int) (int, error) {
	for _, r := range recs {
		if b.Get(storedKey(r)) != nil {
			continue
		}
		if err := b.Put(storedKey(r), storedValue(r)); err != nil {
			return n, err
		}
		n++
	}
	for ; n > maxLost; n-- {
		k, _ := b.Cursor().First()
		if err := b.Delete(k); err != nil {
			return n, err
		}
	}
	return n, nil
}

// fullDisk reports errors that pass when somebody makes room or remounts: a write that failed before anything was
// synced. After a failed fsync nobody knows what is on the disk, and the process must stop; bbolt returns those bare.
func fullDisk(err error) bool {
	var write *fs.PathError
	if !errors.As(err, &write) || write.Op != "write" {
		return false
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}
