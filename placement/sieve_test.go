package placement

import (
	"math/bits"
	"math/rand/v2"
	"testing"
)

// The leading bits by words of a table are those that meet spells out, and these are parities of the key.
func TestSieveIsMeet(t *testing.T) {
	r, s := rand.New(rand.NewPCG(1, 5)), newSieve()
	keys := make([]uint64, 200)
	for h := range keys {
		keys[h] = r.Uint64()
		s.table.widen(h + 1)
		s.put(int32(h), keys[h])
	}
	for range 200 {
		l := lotOf(r.Uint64())
		for h, key := range keys {
			for k := range leading {
				var plain int
				for i := range keyBytes {
					plain += bits.OnesCount64(l.choice[i] >> (8 * k) & keyByte(key, i))
				}
				word := s.row(&l, 0, k)[h>>6] ^ s.row(&l, 1, k)[h>>6] ^ s.row(&l, 2, k)[h>>6]
				if meet := l.meet(key) >> (63 - k) & 1; meet != uint64(plain&1) || meet != word>>(h&63)&1 {
					t.Fatalf("bit %d of host %d: meet %d, parity %d, table %d", k, h, meet, plain&1, word>>(h&63)&1)
				}
			}
		}
	}
}

// The sieve loses nobody who is within the distance, and most of the others.
func TestSieveKeepsTheNear(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 6))
	w := newWorld(Options{})
	w.apply(&Delta{Hosts: mixed(1, 1000, 0).Hosts})
	all := matrix{rows: 1}
	all.widen(1000)
	for h := range int32(1000) {
		all.set(0, h, true)
	}
	rates := w.ratesOf(w.logs.blend(1000, 4<<30))
	passed, near := 0, 0
	for range 300 {
		l := lotOf(r.Uint64())
		distance := uint64(1) << (r.IntN(30) + 20)
		row := w.sieve.pass(&l, all.row(0), rates, distance)
		for h, key := range w.key {
			is := w.logs.negLog2(l.meet(key))>>4*rates.of[h] <= distance
			pass := row[h>>6]>>(h&63)&1 != 0
			if is {
				near++
			}
			if pass {
				passed++
			}
			if is && !pass {
				t.Fatalf("host %d is within %d and was lost", h, distance)
			}
		}
	}
	t.Logf("%d of %d passed, %d are near", passed, 300*1000, near)
	if near < 1000 || passed > 6*near+300*10 {
		t.Errorf("%d of %d passed, %d are near", passed, 300*1000, near)
	}
}
