package placement

import "math/bits"

// Weighted rendezvous (Thaler and Ravishankar 1998, weights after Schindelhauer and Schomaker 2005) in integers: a pod
// orders hosts by −log2(u)/weight, where u in (0,1) is a hash of both. A host is first for a share of pods that is
// proportional to its weight, and a host that goes or comes changes the order of no other two.

// name hashes a string: FNV-1a, then a finaliser, because FNV alone leaves similar names correlated.
func name(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h ^= uint64(s[i])
		h *= 1099511628211
	}
	return mix(h)
}

// mix is the finaliser of splitmix64: every bit of x moves every bit of the result.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

const logBits = 24 // fraction bits of the logarithm

type logTable [257]uint32

// newLogTable holds log2(1+i/256) in 2^-24, by repeated squaring: integers only, so equal on every machine.
func newLogTable() *logTable {
	var t logTable
	for i := range 256 {
		x := uint64(1<<32) + uint64(i)<<24 // 1.i as 32.32
		var r uint32
		for b := logBits - 1; b >= 0; b-- {
			hi, lo := bits.Mul64(x, x)
			x = hi<<32 | lo>>32
			if x >= 2<<32 {
				x >>= 1
				r |= 1 << b
			}
		}
		t[i] = r
	}
	t[256] = 1 << logBits
	return &t
}

// negLog2 is −log2(h/2^64) in 2^-24, off by less than 3e-6; h = 0 counts as 1.
func (t *logTable) negLog2(h uint64) uint64 {
	if h == 0 {
		h = 1
	}
	zeros := bits.LeadingZeros64(h)
	m := h << zeros
	i := m >> 55 & 0xff
	rest := m >> 31 & 0xffffff
	low, high := uint64(t[i]), uint64(t[i+1])
	return uint64(zeros+1)<<logBits - (low + (high-low)*rest>>logBits)
}

// A pod's distance to a host is negLog2 times the host's inverse weight times the price of the match, below
// 2^26 · 2^22 · 2^16, so it never overflows.
const (
	leastWeight = 1 << 9
	mostWeight  = 1 << 32
)

func inverse(weight int64) uint64 {
	return 1 << 31 / uint64(min(max(weight, leastWeight), mostWeight))
}

// weight is a host's size in thousandths of a core, where 4 GiB of memory weigh as much as a core.
func weight(r *Resources) int64 { return size(r.CPU, r.Memory) / 2 }

func size(cpu, memory int64) int64 { return cpu + memory>>20*1000>>12 }

// blend is how much memory comes with a core, as a logarithm in eighths of an octave; 0 when one of the two is missing.
func (t *logTable) blend(cpu, memory int64) int16 {
	if cpu <= 0 || memory <= 0 {
		return 0
	}
	return int16((int64(t.negLog2(uint64(cpu))) - int64(t.negLog2(uint64(memory)))) >> (logBits - 3))
}

// lowerBound is never above 89/128 of negLog2(h)>>4 and much cheaper: −ln(u) > 1−u, and 89/128 > ln 2.
func lowerBound(h uint64) uint64 { return max(^h>>boundShift, 3) - 3 }

// bound is not below 89/128 of a distance.
func bound(distance uint64) uint64 { return distance/128*89 + 89 }

const boundShift = 64 - logBits + 4

// prices make a host farther, in sixteenths, by the powers of the root of 2: from pods whose blend is not that of what it
// has free (a pod that is heavy in memory takes from hosts that are rich in memory, so that none runs out of one while
// the other lies idle; every octave of mismatch costs four, up to eight), and from all when it is scarce (toll).
var prices = [...]uint64{16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048, 2896, 4096, 5793, 8192, 11585, 16384, 23170, 32768, 46341}

const (
	mostMismatch = 16
	mostToll     = 7
)
