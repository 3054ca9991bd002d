package placement

import (
	"math/bits"
	"slices"
)

// one is the best that a single part of the score can reach. Parts other than load are scaled so that the best candidate
// has all of it and the worst nothing, and weigh as in kube-scheduler's default profile; replicas of one owner on
// different hosts weigh more than load, on different zones as much as load.
const one = 1024

const (
	weightLoad    = 1
	weightLikes   = 2
	weightPods    = 2
	weightSpread  = 2
	weightTaints  = 3
	weightHosts   = 2
	weightZones   = 1
	weightPacking = 4 // load, when hosts are to be filled
)

// rank scores the candidates and sorts the best first; equal ones by rendezvous.
func (w *world) rank(s *shape, o *owner, cs []candidate) {
	load := int64(weightLoad)
	if w.opts.Pack {
		load = weightPacking
	}
	for i := range cs {
		cs[i].score = load * w.load(s, cs[i].host)
	}
	if s.likes != nil {
		scale(cs, weightLikes, func(h int32) int64 { return int64(s.likes[h]) })
	}
	if s.static.soft != nil {
		scale(cs, weightTaints, func(h int32) int64 { return -s.blemishes(w, h) })
	}
	if s.soft != nil {
		scale(cs, weightSpread, func(h int32) int64 { return -s.crowding(h) })
	}
	scale(cs, weightPods, func(h int32) int64 { return w.affection(s, h) })
	if o != nil {
		scale(cs, weightHosts, func(h int32) int64 { return -int64(o.hosts[h]) })
		scale(cs, weightZones, func(h int32) int64 { return -o.zone(w, h) })
	}
	slices.SortFunc(cs, func(a, b candidate) int {
		switch {
		case a.score != b.score && a.score > b.score, a.score == b.score && nearer(&a, &b):
			return -1
		}
		return 1
	})
}

// zone is how many pods of the owner host h's zone has; hosts without a zone are one zone of their own each.
func (o *owner) zone(w *world, h int32) int64 {
	if z := w.zones.domain[h]; z >= 0 {
		return int64(o.zones[z])
	}
	return int64(o.hosts[h])
}

// scale adds a part of the score: worst 0, best weight · one.
func scale(cs []candidate, weight int64, part func(h int32) int64) {
	var values [2 * mostCandidates]int64
	low, high := part(cs[0].host), part(cs[0].host)
	for i := range cs {
		values[i] = part(cs[i].host)
		low, high = min(low, values[i]), max(high, values[i])
	}
	if low == high {
		return
	}
	for i := range cs {
		cs[i].score += weight * share(values[i]-low, high-low)
	}
}

// load is how good the host's fill would be with the pod. Spreading: what stays free, less half the imbalance of cpu and
// memory. Packing: what is used, less the imbalance, because lopsided hosts strand the rest.
func (w *world) load(s *shape, h int32) int64 {
	total, free := &w.total[h], &w.free[h]
	cpu := share(total.cpu-free.cpu+s.cpu, total.cpu)
	memory := share(total.memory-free.memory+s.memory, total.memory)
	skew := max(cpu-memory, memory-cpu)
	if w.opts.Pack {
		return (cpu+memory)/2 - skew
	}
	return one - (cpu+memory)/2 - skew/2
}

// share is part/whole in 1/1024, from 0 to 2.
func share(part, whole int64) int64 {
	switch {
	case part <= 0:
		return 0
	case whole <= 0 || part/2 >= whole:
		return 2 * one
	}
	hi, lo := bits.Mul64(uint64(part), one)
	q, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(q)
}
