package placement

import "math/bits"

// one is the best that a single part of the score can reach. Parts other than load are scaled so that the best candidate
// has all of it and the worst nothing, and weigh as in kube-scheduler's default profile; replicas of one owner on
// different hosts weigh as much as load, and so do those on different zones: either has its whole weight where one replica
// more makes the difference, load only a part of it.
const one = 1024

const (
	weightLoad    = 1
	weightLikes   = 2
	weightPods    = 2
	weightSpread  = 2
	weightTaints  = 3
	weightHosts   = 1
	weightZones   = 1
	weightPacking = 4 // load, when hosts are to be filled
)

// rank scores the candidates and sorts the best first; equal ones by rendezvous.
func (w *world) rank(s *shape, o *owner, cs []candidate) {
	for part := range parts {
		w.scorePart(part, s, o, cs, nil)
	}
	for i := 1; i < len(cs); i++ {
		c, j := cs[i], i
		for ; j > 0 && (c.score > cs[j-1].score || c.score == cs[j-1].score && w.nearer(&c, &cs[j-1])); j-- {
			cs[j] = cs[j-1]
		}
		cs[j] = c
	}
}

// parts of the score.
const (
	partLoad = iota
	partLikes
	partTaints
	partSpread
	partPods
	partHosts
	partZones
	parts
)

var partNames = [parts]string{"load", "node affinity", "taints", "spread", "pod affinity", "other hosts", "other zones"}

// scorePart adds one part of the score to the candidates, and to each when it is not nil.
func (w *world) scorePart(part int, s *shape, o *owner, cs []candidate, each *[2 * mostCandidates]int64) {
	values, weight := w.values[:len(cs)], int64(0)
	switch part {
	case partLoad:
		weight = weightLoad
		if w.opts.Pack {
			weight = weightPacking
		}
		for i := range cs {
			x := weight * w.load(s.spec, cs[i].host)
			cs[i].score += x
			if each != nil {
				each[i] = x
			}
		}
		return
	case partLikes:
		if s.likes == nil {
			return
		}
		weight = weightLikes
		for i := range cs {
			values[i] = int64(s.likes.sum[cs[i].host])
		}
	case partTaints:
		if !s.static.picky {
			return
		}
		weight = weightTaints
		for i := range cs {
			values[i] = -int64(s.static.soft[w.taints[cs[i].host]])
		}
	case partSpread:
		if s.soft == nil {
			return
		}
		weight = weightSpread
		for i := range cs {
			values[i] = -s.crowding(cs[i].host)
		}
	case partPods:
		if !w.drawn(s) {
			return
		}
		weight = weightPods
		for i := range cs {
			values[i] = w.affection(s, cs[i].host)
		}
	case partHosts:
		if o == nil {
			return
		}
		weight = weightHosts
		for i := range cs {
			values[i] = -int64(o.hosts.get(cs[i].host))
		}
	case partZones:
		if o == nil {
			return
		}
		weight = weightZones
		for i := range cs {
			values[i] = -w.zone(o, cs[i].host)
		}
	}
	scale(cs, values, weight, each)
}

// scale adds a part of the score: worst 0, best weight · one.
func scale(cs []candidate, values []int64, weight int64, each *[2 * mostCandidates]int64) {
	low, high := values[0], values[0]
	for _, v := range values[1:] {
		low, high = min(low, v), max(high, v)
	}
	if low == high {
		return
	}
	for i, v := range values {
		x := weight * share(v-low, high-low)
		cs[i].score += x
		if each != nil {
			each[i] = x
		}
	}
}

// load is how good the host's fill would be with the pod. Spreading: what stays free, less half the imbalance of cpu and
// memory. Packing: what is used, less the imbalance, because lopsided hosts strand the rest.
func (w *world) load(s *spec, h int32) int64 {
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
	case part < 1<<53:
		return int64(uint64(part) * one / uint64(whole))
	}
	hi, lo := bits.Mul64(uint64(part), one)
	q, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(q)
}
