package sim

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// disk holds what was synced. A batch is on it whole or not at all, as bbolt has it; what may happen to it is to fill up, to
// fail, to be slow, to lose a batch that was under way when the power went, to rot, and to be an old copy of itself.
type disk struct {
	data    map[string]map[string][]byte
	bodies  map[string]int // of the records on it
	under   []store.Change // being written
	busy    bool
	full    bool
	broken  bool
	slow    bool
	damaged bool
	backup  *disk
	backed  time.Duration
}

var errSync = errors.New("fsync failed")

func (d *disk) image() map[string]map[string][]byte { return d.data }

func (d *disk) write(cs []store.Change) {
	if d.data == nil {
		d.data, d.bodies = map[string]map[string][]byte{}, map[string]int{}
	}
	for _, c := range cs {
		b := d.data[c.Bucket]
		if b == nil {
			b = map[string][]byte{}
			d.data[c.Bucket] = b
		}
		_, had := b[c.Key]
		if c.Value == nil {
			delete(b, c.Key)
		} else {
			b[c.Key] = c.Value
		}
		if c.Bucket == "records" && had != (c.Value != nil) {
			if had {
				d.bodies[string(c.Record.Body)]--
			} else {
				d.bodies[string(c.Record.Body)]++
			}
		}
	}
}

func (d *disk) error(w *world) error {
	switch {
	case d.broken:
		d.broken = false
		return errSync
	case d.full:
		return &fs.PathError{Op: "write", Path: "store.db", Err: syscall.ENOSPC}
	}
	return nil
}

func (d *disk) copy() *disk {
	c := &disk{data: map[string]map[string][]byte{}, bodies: maps.Clone(d.bodies)}
	for name, b := range d.data {
		c.data[name] = maps.Clone(b)
	}
	return c
}

// rot changes one byte of one value.
func (d *disk) rot(w *world) bool {
	b := d.data["records"]
	if len(b) == 0 {
		return false
	}
	keys := slices.Sorted(maps.Keys(b))
	k := keys[w.rnd.IntN(len(keys))]
	v := slices.Clone(b[k])
	v[w.rnd.IntN(len(v))] ^= 1 << w.rnd.IntN(8)
	b[k] = v
	d.damaged = true
	return true
}

func (w *world) commitTime(n *node) time.Duration {
	if n.disk.slow {
		return w.between(100*time.Millisecond, 3*time.Second)
	}
	return w.between(200*time.Microsecond, 25*time.Millisecond)
}
