package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Import makes the store of a directory that has none out of a snapshot, and returns how many records that were. verify is
// as Config.Verify. Until the whole of it was read and synced there is nothing under the store's name.
func Import(ctx context.Context, dir string, snap *SnapshotReader, verify func(actor string, msg, sig []byte) error) (int, error) {
	path := filepath.Join(dir, "store.db")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("import into %s: there is a store already", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("import: %w", err)
	}
	temporary := path + ".importing"
	if err := os.RemoveAll(temporary); err != nil {
		return 0, fmt.Errorf("import: %w", err)
	}
	n, err := importTo(ctx, temporary, snap, verify)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("import: %w", errors.Join(err, os.RemoveAll(temporary)))
	}
	return n, nil
}

func importTo(ctx context.Context, path string, snap *SnapshotReader, verify func(actor string, msg, sig []byte) error) (n int, err error) {
	d, _, err := loadDisk(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.db.Close()) }()
	d.db.NoSync = true // all of it at the end, or nothing of it counts
	for {
		recs, err := snap.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return 0, err
		}
		b := &batch{}
		for _, r := range recs {
			if err := verify(r.Dot.Actor, r.msg, r.sig); err != nil {
				return 0, fmt.Errorf("%w: signature of %s: %w", ErrPoison, r.Dot.Actor, err)
			}
			b.ops = append(b.ops, diskOp{rec: r})
		}
		if err := d.commit(b); err != nil {
			return 0, err
		}
		n += len(recs)
	}
	if err := d.commit(&batch{horizon: snap.horizons}); err != nil {
		return 0, err
	}
	return n, d.db.Sync()
}

// Merged is what came of a snapshot that was merged.
type Merged struct {
	Records int // in the snapshot
	News    int // that this replica did not have
	Lost    int // in lost-and-found now
}

// Merge takes the records of a snapshot in as if a peer had brought them: nothing that was deleted comes back, and what is from
// before a horizon goes to lost-and-found. The snapshot's horizons are not adopted. After an error part of it is merged.
func (s *Store) Merge(ctx context.Context, snap *SnapshotReader) (m Merged, err error) {
	for {
		recs, err := snap.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			m.Records += len(recs)
			recs, err = s.verify(recs)
		}
		if err == nil && len(recs) > 0 {
			var r *Reply
			if r, err = s.ask(ctx, event{receive: recs}); err == nil {
				m.News += len(r.current)
			}
		}
		if err != nil {
			return m, fmt.Errorf("merge a snapshot: %w (%d records were taken)", err, m.News)
		}
	}
	lost, err := s.lost(ctx)
	if err != nil {
		return m, fmt.Errorf("merge a snapshot: %w", err)
	}
	m.Lost = len(lost)
	return m, nil
}

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
