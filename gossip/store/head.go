package store

import (
	"slices"
	"strings"
)

// head is Head as records carry it. A finalizer's place in Removed is an epoch that only grows: odd while it is taken off,
// even once a person put it back. The greater epoch wins, so merging is a maximum and needs no history.
type head struct {
	deletion, grace int64 // grace counts only beside a deletion
	generation      int64
	removed         []removal // sorted by name
}

type removal struct {
	name  string
	epoch uint64
}

// merge joins two heads: commutative, associative, idempotent.
func (h head) merge(o head) head {
	out := head{generation: max(h.generation, o.generation), removed: mergeRemoved(h.removed, o.removed)}
	switch {
	case h.deletion == 0:
		out.deletion, out.grace = o.deletion, o.grace
	case o.deletion == 0:
		out.deletion, out.grace = h.deletion, h.grace
	default:
		out.deletion, out.grace = min(h.deletion, o.deletion), min(h.grace, o.grace)
	}
	return out
}

func mergeRemoved(a, b []removal) []removal {
	if len(b) == 0 {
		return a
	}
	out := slices.Clone(a)
	for _, r := range b {
		i, ok := slices.BinarySearchFunc(out, r.name, func(e removal, n string) int { return strings.Compare(e.name, n) })
		if ok {
			out[i].epoch = max(out[i].epoch, r.epoch)
		} else {
			out = slices.Insert(out, i, r)
		}
	}
	return out
}

// public is what the view shows.
func (h head) public() Head {
	out := Head{DeletionTime: h.deletion, DeletionGrace: h.grace, Generation: h.generation}
	for _, r := range h.removed {
		if r.epoch%2 == 1 {
			out.Removed = append(out.Removed, r.name)
		}
	}
	return out
}

// advance is the head of a write that was made on top of h and asks for w: what is sticky stays.
func (h head) advance(w Head) head {
	out := h.merge(head{deletion: w.DeletionTime, grace: w.DeletionGrace, generation: w.Generation})
	out.removed = slices.Clone(h.removed)
	for i, r := range out.removed {
		if taken := r.epoch%2 == 1; taken && !slices.Contains(w.Removed, r.name) {
			out.removed[i].epoch++ // put back
		}
	}
	for _, name := range w.Removed {
		i, ok := slices.BinarySearchFunc(out.removed, name, func(e removal, n string) int { return strings.Compare(e.name, n) })
		switch {
		case !ok:
			out.removed = slices.Insert(out.removed, i, removal{name, 1})
		case out.removed[i].epoch%2 == 0:
			out.removed[i].epoch++
		}
	}
	return out
}
