package store

import (
	"bytes"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// TestTailsOfALaterVersionStay: a server that went back to an older program writes its marks, a horizon and the deaths of a record
// anew, and leaves what the later program had appended to them.
func TestTailsOfALaterVersionStay(t *testing.T) {
	tail, r, now := []byte("of a later version"), specimens(t)[0], time.Unix(1_800_000_000, 0)
	dir := t.TempDir()
	with := func(do func(d *disk)) {
		t.Helper()
		d, _, _, _, err := openDisk(dir, now)
		if err != nil {
			t.Fatal(err)
		}
		do(d)
		if err := d.db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	die := func(d *disk) {
		p, err := openPoison(dir, d, now)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		p.begin([]*Record{r})
	}
	values := func(see func(b *bolt.Bucket, k, v []byte) error) {
		t.Helper()
		with(func(d *disk) {
			err := d.db.Update(func(tx *bolt.Tx) error {
				for bucket, k := range map[string][]byte{"meta": metaMarks, "horizon": []byte("core/pods"), "poison": r.hash[:]} {
					b := tx.Bucket([]byte(bucket))
					if err := see(b, k, bytes.Clone(b.Get(k))); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	raise := func(at uint64) {
		with(func(d *disk) {
			if err := d.commit(&batch{mark: true, marks: marks{counter: at}, horizon: []horizonOf{{"core/pods", stampOf0(at)}}}); err != nil {
				t.Fatal(err)
			}
		})
	}
	raise(1_700_000_000_000)
	with(die)
	with(die) // the first death is written down
	values(func(b *bolt.Bucket, k, v []byte) error {
		v, ok := unsealed(v)
		if !ok {
			t.Fatalf("%s: no such value", k)
		}
		return b.Put(k, sealed(append(bytes.Clone(v), tail...)))
	})
	raise(1_700_000_600_000)
	with(die) // the second
	values(func(_ *bolt.Bucket, k, v []byte) error {
		if v, _ = unsealed(v); !bytes.HasSuffix(v, tail) {
			t.Errorf("%q has lost its tail: %q", k, v)
		}
		return nil
	})
	with(func(d *disk) {
		_ = d.db.View(func(tx *bolt.Tx) error {
			at, _, err := decodeHorizon(nil, tx.Bucket(bucketHorizon).Get([]byte("core/pods")))
			_, e, ok := decodeDeath(r.hash[:], tx.Bucket(bucketPoison).Get(r.hash[:]))
			if err != nil || at != stampOf0(1_700_000_600_000) || !ok || e.times != 2 {
				t.Errorf("horizon %v (%v), %d deaths", at, err, e.times)
			}
			return nil
		})
	})
}
