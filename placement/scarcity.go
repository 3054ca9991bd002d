package placement

import (
	"cmp"
	"math/bits"
	"slices"
)

// Scarcity: some hosts can take what few others can (a label, an architecture, a taint that few tolerate). Pods that could
// go anywhere should leave them free. So every class of hosts has a price, the dual of its capacity in the fluid problem
// "spread the demand of each set of rules over the hosts that it allows, every class equally full": where demand that
// cannot go elsewhere would overfill a class, its price rises until the others leave it.
//
// Prices are half octaves of distance. What they depend on is rounded first (demand and capacity to an eighth of an
// octave), so that they change seldom and a State finds them by comparing, not by solving again.
type scarcity struct {
	demands []demand
	classes []class
	of      []int32 // class by host
	stamp   int
}

// demand is that of all pods which the same hosts can take.
type demand struct {
	hosts   uint64 // their keys, xored: which set it is, whatever the order
	count   int
	size    int64
	rounded int64
	static  *static
}

// class is the hosts that the same demands can use.
type class struct {
	demands  uint64 // bit set
	size     int64
	rounded  int64
	price    int64 // sixteenths of an octave
	expected int64
}

// Bounds of the fluid problem.
const (
	mostDemands = 32
	mostClasses = 128
	dualRounds  = 24
	priceUnit   = 16 // of an octave
	mostPrice   = mostToll * priceUnit / 2
)

// weighScarcity brings the tolls up to date.
func (w *world) weighScarcity() {
	demands := w.scarceDemands()
	classes, of := w.classes(demands)
	s := &w.scarcity
	if !sameProblem(s.demands, demands, s.classes, classes) {
		s.demands, s.classes = demands, classes
		s.solve(w.logs)
	}
	for h := range w.toll {
		w.toll[h] = 0
		if c := of[h]; c >= 0 {
			w.toll[h] = uint8((s.classes[c].price + priceUnit/4) / (priceUnit / 2))
		}
	}
}

// scarceDemands are the largest.
func (w *world) scarceDemands() []demand {
	var out []demand
	for _, st := range w.roaming {
		if st.demand == 0 || len(st.hosts) == 0 {
			continue
		}
		d := demand{count: len(st.hosts), size: st.demand, static: st}
		for _, h := range st.hosts {
			d.hosts ^= w.key[h]
		}
		if at := slices.IndexFunc(out, func(x demand) bool { return x.hosts == d.hosts && x.count == d.count }); at >= 0 {
			out[at].size += d.size
			continue
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b demand) int { return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.hosts, b.hosts)) })
	out = out[:min(len(out), mostDemands)]
	for i := range out {
		out[i].rounded = w.logs.round(out[i].size)
	}
	return out
}

// classes sorts hosts by the demands that they can take.
func (w *world) classes(demands []demand) (out []class, of []int32) {
	bits := make([]uint64, len(w.id))
	for i, d := range demands {
		for _, h := range d.static.hosts {
			bits[h] |= 1 << i
		}
	}
	of = make([]int32, len(w.id))
	for h, b := range bits {
		of[h] = -1
		if b == 0 {
			continue
		}
		at := slices.IndexFunc(out, func(c class) bool { return c.demands == b })
		if at < 0 {
			if len(out) == mostClasses {
				for i := range of {
					of[i] = -1
				}
				return nil, of // too many kinds of hosts for a price each: none has one
			}
			at = len(out)
			out = append(out, class{demands: b})
		}
		_, all := w.fill(int32(h))
		out[at].size += all
		of[h] = int32(at)
	}
	for i := range out {
		out[i].rounded = w.logs.round(out[i].size)
	}
	return out, of
}

func sameProblem(a, b []demand, x, y []class) bool {
	return slices.EqualFunc(a, b, func(p, q demand) bool { return p.rounded == q.rounded }) &&
		slices.EqualFunc(x, y, func(p, q class) bool { return p.demands == q.demands && p.rounded == q.rounded })
}

// round cuts n > 0 to an eighth of an octave.
func (t *logTable) round(n int64) int64 {
	if n < 16 {
		return n
	}
	low := bits.Len64(uint64(n)) - 4
	return n >> low << low
}

// solve lets demand flow to classes in proportion to capacity over price, and raises the price of what is fuller than the
// mean, until the rounds are over.
func (s *scarcity) solve(logs *logTable) {
	var demand, capacity int64
	for i := range s.demands {
		demand += s.demands[i].rounded
	}
	for i := range s.classes {
		capacity += s.classes[i].rounded
		s.classes[i].price = 0
	}
	if len(s.classes) < 2 || demand == 0 {
		return
	}
	for range dualRounds {
		s.flow(logs)
		for i := range s.classes {
			c := &s.classes[i]
			c.price += min(max((share(c.expected, c.rounded)-share(demand, capacity))*2*priceUnit/max(share(demand, capacity), 1), -priceUnit/2), priceUnit/2)
		}
	}
	least := s.classes[0].price
	for i := range s.classes {
		least = min(least, s.classes[i].price)
	}
	for i := range s.classes {
		s.classes[i].price = min(s.classes[i].price-least, mostPrice)
	}
}

// flow expects, for every class, how much of all demand goes to it at the present prices.
func (s *scarcity) flow(logs *logTable) {
	pull := make([]int64, len(s.classes))
	for i := range s.classes {
		s.classes[i].expected = 0
		p := s.classes[i].price + 1024
		pull[i] = max(logs.halved(s.classes[i].rounded, p), 1)
	}
	for i := range s.demands {
		var sum int64
		for c := range s.classes {
			if s.classes[c].demands>>i&1 != 0 {
				sum += pull[c]
			}
		}
		for c := range s.classes {
			if s.classes[c].demands>>i&1 != 0 {
				hi, lo := bits.Mul64(uint64(s.demands[i].rounded), uint64(pull[c]))
				q, _ := bits.Div64(hi, lo, uint64(sum))
				s.classes[c].expected += int64(q)
			}
		}
	}
}

// halved is n·2^(64−price/16), scaled so that nothing is lost for usual prices.
func (t *logTable) halved(n, price int64) int64 {
	octaves, rest := price/priceUnit-64, price%priceUnit
	n = n << 8 * 256 / (256 + int64(t[rest*256/priceUnit])*256>>logBits)
	if octaves < 0 {
		return n << min(-octaves, 8)
	}
	return n >> min(octaves, 62)
}
