package placement

import "math/bits"

// rates are the inverse weight of every host times its price for pods of one blend: one factor of the distance. They are
// kept up to date, since a host's blend changes seldom and is read for every pod.
type rates struct {
	blend int16
	of    []uint64           // by host
	reach uint64             // a distance within which the last pod's candidates were; a guess that no choice depends on
	above matrix             // row n: hosts with a rate of at least 2^(n−1)
	count [rateLevels]uint32 // of hosts in each row
}

// rateLevels is one more than the bits of the highest rate: an inverse weight below 2^23 times a price below 2^16.
const rateLevels = 40

// ratesOf returns those for a blend.
func (w *world) ratesOf(blend int16) *rates {
	for _, r := range w.allRates {
		if r.blend == blend {
			return r
		}
	}
	r := &rates{blend: blend, reach: farthest, of: make([]uint64, len(w.id)), above: matrix{rows: rateLevels}}
	r.above.widen(len(w.id))
	w.allRates = append(w.allRates, r)
	for h := range w.id {
		r.set(int32(h), w.inverse[h]*w.price(blend, int32(h)))
	}
	return r
}

func (r *rates) set(h int32, rate uint64) {
	old, now := bits.Len64(r.of[h]), bits.Len64(rate)
	r.of[h] = rate
	for ; old < now; old++ {
		r.above.set(old+1, h, true)
		r.count[old+1]++
	}
	for ; old > now; old-- {
		r.above.set(old, h, false)
		r.count[old]--
	}
}

// reprice follows a change of host h's blend, weight or toll.
func (w *world) reprice(h int32) {
	for _, r := range w.allRates {
		r.set(h, w.inverse[h]*w.price(r.blend, h))
	}
}

// blended notes what is free on host h now.
func (w *world) blended(h int32) {
	if b := w.logs.blend(w.free[h].cpu, w.free[h].memory); b != w.blend[h] {
		w.blend[h] = b
		w.reprice(h)
	}
}

// price of host h for pods of a blend: by mismatch and scarcity.
func (w *world) price(blend int16, h int32) uint64 {
	off := int(w.toll[h])
	if b := w.blend[h]; b != 0 && blend != 0 {
		off += int(min(max(blend-b, b-blend), mostMismatch))
	}
	return prices[off]
}
