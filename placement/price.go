package placement

// rates are the inverse weight of every host times its price for pods of one blend: one factor of the distance. They are
// kept up to date, since a host's blend changes seldom and is read for every pod.
type rates struct {
	blend int16
	of    []uint64 // by host
}

// ratesOf returns those for a blend.
func (w *world) ratesOf(blend int16) *rates {
	for _, r := range w.allRates {
		if r.blend == blend {
			return r
		}
	}
	r := &rates{blend: blend, of: make([]uint64, len(w.id))}
	w.allRates = append(w.allRates, r)
	for h := range w.id {
		r.of[h] = w.inverse[h] * w.price(blend, int32(h))
	}
	return r
}

// reprice follows a change of host h's blend, weight or toll.
func (w *world) reprice(h int32) {
	for _, r := range w.allRates {
		r.of[h] = w.inverse[h] * w.price(r.blend, h)
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
