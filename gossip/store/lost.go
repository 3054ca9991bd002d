package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Lost-and-found holds what the store would not merge by itself and must not throw away: records of unknown lives from before
// a horizon, which may have been deleted while their bringer was away (bucket lost), and what was read out of a damaged file
// (bucket salvaged). A person decides: admit or drop. Nothing in it travels.

// Lost is one entry of lost-and-found.
type Lost struct {
	ID string // names it on this node
	Key
	Part    Part
	Delete  bool
	Human   bool
	Author  string    // peer ID
	Time    time.Time // by the author's clock
	Damaged bool      // it was read out of a damaged file; else its life is from before the horizon
	Body    []byte
}

// ErrNotLost: lost-and-found has no such entry (any more).
var ErrNotLost = errors.New("lost-and-found has no such entry; `orpheus lost-and-found` lists them")

const lostID = 8 // bytes of a hash that name an entry

type found struct {
	rec     *Record
	damaged bool
}

func (f found) id() string { return hex.EncodeToString(f.rec.hash[:lostID]) }

// Lost lists the entries, the newest first. What the mesh turned out to know, or to have gone beyond, is no longer there.
func (s *Store) Lost(ctx context.Context) ([]Lost, error) {
	all, err := s.lost(ctx)
	if err != nil {
		return nil, fmt.Errorf("list lost-and-found: %w", err)
	}
	out := make([]Lost, 0, len(all))
	for _, f := range slices.Backward(all) {
		r := f.rec
		out = append(out, Lost{
			ID: f.id(), Key: r.Key, Part: r.Part, Delete: r.Op == Delete, Human: r.Human, Author: r.Dot.Actor,
			Time: r.Stamp.Time(), Damaged: f.damaged, Body: r.Body,
		})
	}
	return out, nil
}

// lost reads both buckets and forgets what the core has no use for.
func (s *Store) lost(ctx context.Context) ([]found, error) {
	all, err := s.disk.found()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	recs := make([]*Record, len(all))
	for i, f := range all {
		recs[i] = f.rec
	}
	r, err := s.ask(ctx, event{sift: recs})
	if err != nil {
		return nil, err
	}
	wanted := make(map[*Record]bool, len(r.current))
	for _, rec := range r.current {
		wanted[rec] = true
	}
	var known []*Record
	all = slices.DeleteFunc(all, func(f found) bool {
		if !wanted[f.rec] {
			known = append(known, f.rec)
		}
		return !wanted[f.rec]
	})
	if len(known) > 0 {
		_, err = s.ask(ctx, event{drop: known})
	}
	return all, err
}

// Admit takes an entry back. What the mesh can still merge as it is comes back under its own UID; what is from before the
// horizon is written anew by this node, in the name of the person who asked. Where an object of the name lives, replace must
// be set.
func (s *Store) Admit(ctx context.Context, id string, replace bool) error {
	f, err := s.pick(ctx, id)
	if err == nil {
		err = s.admitLost(ctx, f.rec, replace)
	}
	if err == nil {
		_, err = s.ask(ctx, event{drop: []*Record{f.rec}})
	}
	if err != nil {
		return fmt.Errorf("admit %s: %w", id, err)
	}
	return nil
}

func (s *Store) admitLost(ctx context.Context, r *Record, replace bool) error {
	if news, err := s.verify([]*Record{r}); err != nil || len(news) == 0 {
		return err
	}
	reply, err := s.ask(ctx, event{receive: []*Record{r}})
	if err != nil || len(reply.current) > 0 {
		return err
	}
	if r.Part != Intent || r.Op != Put {
		return errors.New("it is a status or a deletion of something that is gone: drop it")
	}
	w := Write{Key: r.Key, Body: r.Body, Human: true, Root: r.Root, Head: Head{Generation: r.head.generation}}
	if w.Base, _ = s.Get(r.Key); w.Base != nil {
		if !replace {
			return fmt.Errorf("an object of that name lives: %w; replace it, or drop the entry", ErrExists)
		}
		w.Head, w.Root = w.Base.Head, Key{}
	}
	_, err = s.Write(ctx, w)
	return err
}

// Drop throws an entry away for good.
func (s *Store) Drop(ctx context.Context, id string) error {
	f, err := s.pick(ctx, id)
	if err == nil {
		_, err = s.ask(ctx, event{drop: []*Record{f.rec}})
	}
	if err != nil {
		return fmt.Errorf("drop %s: %w", id, err)
	}
	return nil
}

func (s *Store) pick(ctx context.Context, id string) (found, error) {
	all, err := s.lost(ctx)
	if err != nil {
		return found{}, err
	}
	var hits []found
	for _, f := range all {
		if id != "" && strings.HasPrefix(f.id(), id) {
			hits = append(hits, f)
		}
	}
	switch len(hits) {
	case 0:
		return found{}, ErrNotLost
	case 1:
		return hits[0], nil
	}
	return found{}, fmt.Errorf("%d entries begin so: %w", len(hits), ErrNotLost)
}

// sift keeps the records that would still change something, were they admitted.
func (c *core) sift(recs []*Record) []*Record {
	return slices.DeleteFunc(slices.Clone(recs), func(r *Record) bool { return !c.lacks(r) })
}

func (c *core) lacks(r *Record) bool {
	if _, known := c.set.get(r); known {
		return false
	}
	l := c.life(r.Key, r.UID)
	switch {
	case l == nil:
		return true // a deletion too: it may have been read out of a damaged file, beside what it ended
	case r.Part != Intent:
		old := l.parts[r.Part]
		return !l.dead() && (old == nil || r.newer(old))
	}
	return !c.outdated(r) && !slices.ContainsFunc(l.versions, func(v *Record) bool { return v.replaces(r) })
}

// found reads both buckets in order. An entry that the disk damaged is left out: there is nothing to admit.
func (d *disk) found() ([]found, error) {
	var out []found
	err := d.db.View(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketLost, bucketSalvaged} {
			b := tx.Bucket(name)
			if b == nil {
				continue
			}
			_ = b.ForEach(func(k, v []byte) error {
				if r, err := decodeStored(k, v); err == nil {
					out = append(out, found{r, bytes.Equal(name, bucketSalvaged)})
				}
				return nil
			})
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b found) int { return a.rec.compare(b.rec) })
	out = slices.CompactFunc(out, func(a, b found) bool { return a.rec.hash == b.rec.hash })
	return out, err
}

// dropLost takes entries out of both buckets and returns how many are left in the bounded one.
func dropLost(tx *bolt.Tx, recs []*Record, n int) (int, error) {
	for _, r := range recs {
		key := storedKey(r)
		if b := tx.Bucket(bucketLost); b.Get(key) != nil {
			if err := b.Delete(key); err != nil {
				return n, err
			}
			n--
		}
		if b := tx.Bucket(bucketSalvaged); b != nil {
			if err := b.Delete(key); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
