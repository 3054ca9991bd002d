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
	rules   int     // when classes were sorted

	spare []demand // room for the next demands
	bits  []uint64 // by host: its demands, while classes are sorted
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
	demands uint64 // bit set
	size    int64
	rounded int64
	price   int64 // sixteenths of an octave
}

// Bounds of the fluid problem.
const (
	mostDemands = 16
	mostClasses = 128
	dualRounds  = 16
	priceUnit   = 16 // of an octave
	mostPrice   = mostToll * priceUnit / 2
)

// weighScarcity brings the tolls up to date.
func (w *world) weighScarcity() {
	demands := w.scarceDemands()
	s := &w.scarcity
	s.spare = demands
	same := s.rules == w.rules && slices.EqualFunc(s.demands, demands, func(p, q demand) bool { return p.hosts == q.hosts && p.count == q.count })
	if same && sameAmounts(s.demands, demands) {
		return
	}
	classes, of := s.classes, s.of
	if !same {
		classes, of = w.classes(demands)
	}
	solved := sameAmounts(s.demands, demands) && slices.EqualFunc(s.classes, classes, sameClass)
	s.demands, s.spare, s.of, s.rules = demands, s.demands, of, w.rules
	if !solved {
		s.classes = classes
		s.solve(w.logs)
	}
	for h := range w.toll {
		toll := uint8(0)
		if c := of[h]; c >= 0 {
			toll = uint8((s.classes[c].price + priceUnit/4) / (priceUnit / 2))
		}
		if toll != w.toll[h] {
			w.toll[h] = toll
			w.reprice(int32(h))
		}
	}
}

// scarceDemands are the largest.
func (w *world) scarceDemands() []demand {
	out := w.scarcity.spare[:0]
	for _, st := range w.roaming {
		if st.demand == 0 || len(st.hosts) == 0 {
			continue
		}
		d := demand{hosts: st.sign, count: len(st.hosts), size: st.demand, static: st}
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
func (w *world) classes(demands []demand) ([]class, []int32) {
	var out []class
	s := &w.scarcity
	bits, of := slices.Grow(s.bits[:0], len(w.id))[:len(w.id)], slices.Grow(s.of[:0], len(w.id))[:len(w.id)]
	clear(bits)
	s.bits = bits
	for i, d := range demands {
		for _, h := range d.static.hosts {
			bits[h] |= 1 << i
		}
	}
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

func sameAmounts(a, b []demand) bool {
	return slices.EqualFunc(a, b, func(p, q demand) bool { return p.rounded == q.rounded })
}

func sameClass(p, q class) bool { return p.demands == q.demands && p.rounded == q.rounded }

// round cuts n > 0 to an eighth of an octave.
func (t *logTable) round(n int64) int64 {
	if n < 16 {
		return n
	}
	low := bits.Len64(uint64(n)) - 4
	return n >> low << low
}

// solve lets demand flow to classes in proportion to capacity over price, and raises the price of what is fuller than the
// mean, until the rounds are over. Demand and capacity are each scaled to sum up to 2^30, so that the mean fill is 1.
func (s *scarcity) solve(logs *logTable) {
	var demand, capacity int64
	for i := range s.demands {
		demand += s.demands[i].rounded
	}
	for i := range s.classes {
		capacity += s.classes[i].rounded
		s.classes[i].price = 0
	}
	if len(s.classes) < 2 || demand == 0 || capacity == 0 {
		return
	}
	f := newFlow(s, demand, capacity)
	for range dualRounds {
		f.run(s.classes, logs)
		for c := range s.classes {
			fill := share(f.expected[c], f.capacity[c])
			step := min(max((fill-one)*2*priceUnit/one, -priceUnit/2), priceUnit/2)
			s.classes[c].price = min(max(s.classes[c].price+step, -mostPrice), mostPrice)
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

// flow is the fluid problem in scaled numbers.
type flow struct {
	demand, capacity, expected, pull []int64
	uses                             [][]int32 // classes by demand
}

func newFlow(s *scarcity, demand, capacity int64) *flow {
	f := &flow{expected: make([]int64, len(s.classes)), pull: make([]int64, len(s.classes))}
	for c := range s.classes {
		f.capacity = append(f.capacity, max(scaled(s.classes[c].rounded, capacity), 1))
	}
	for i := range s.demands {
		f.demand = append(f.demand, scaled(s.demands[i].rounded, demand))
		var uses []int32
		for c := range s.classes {
			if s.classes[c].demands>>i&1 != 0 {
				uses = append(uses, int32(c))
			}
		}
		f.uses = append(f.uses, uses)
	}
	return f
}

// scaled is part/whole in 2^-30.
func scaled(part, whole int64) int64 {
	hi, lo := bits.Mul64(uint64(part), 1<<30)
	q, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(q)
}

// run expects, for every class, how much of all demand goes to it at the present prices.
func (f *flow) run(classes []class, logs *logTable) {
	clear(f.expected)
	for c := range classes {
		f.pull[c] = max(logs.cheaper(f.capacity[c], classes[c].price), 1)
	}
	for i, uses := range f.uses {
		var sum int64
		for _, c := range uses {
			sum += f.pull[c]
		}
		part := f.demand[i] << 30 / max(sum, 1)
		for _, c := range uses {
			f.expected[c] += f.pull[c] * part >> 30 // pull ≤ sum, so below 2^60
		}
	}
}

// cheaper is n·2^(−price/16).
func (t *logTable) cheaper(n, price int64) int64 {
	octaves, rest := price>>4, price&15
	n = n << 8 / (256 + t.exp2(rest))
	if octaves < 0 {
		return n << -octaves
	}
	return n >> octaves
}

// exp2 is 256·(2^(rest/16) − 1): the place of rest in the table of logarithms.
func (t *logTable) exp2(rest int64) int64 {
	at, _ := slices.BinarySearch(t[:], uint32(rest<<(logBits-4)))
	return int64(at)
}
