package placement

import "math/bits"

// sieve draws the leading bits of a pod's rendezvous with every host, for 64 hosts at a time, so that most are passed over
// without being looked at. Each is the parity of some bits of the host's key, which the pod chooses; parity is linear, so
// the bits of 64 hosts are the sum of three words of a table, one for each byte of the key ("four Russians").
type sieve struct {
	table matrix // row 256·i+v: the parity of v and byte i of the key
	seen  []uint64
}

const (
	leading  = 8 // bits by parity
	keyBytes = 3 // of a host's key that count for them
	eachByte = 0x0101010101010101
)

func newSieve() sieve { return sieve{table: matrix{rows: keyBytes * 256}} }

// lot is what a pod draws with: its hash, and the bits that it chooses for leading bit k: byte k of choice[i] of byte i.
type lot struct {
	hash   uint64
	choice [keyBytes]uint64
}

func lotOf(pod uint64) lot {
	l := lot{hash: pod}
	for i := range l.choice {
		l.choice[i] = mix(pod + uint64(i+1)*0x9e3779b97f4a7c15)
	}
	return l
}

// keyByte is one that counts; the first is never 0, since such a host would be far from every pod.
func keyByte(key uint64, i int) uint64 {
	if i == 0 {
		return key>>56 | 1
	}
	return key >> (56 - 8*i) & 0xff
}

// meet is the hash of a pod and a host: the leading bits, then the folded product of both (as in wyhash).
func (l *lot) meet(key uint64) uint64 {
	x := l.choice[0]&(keyByte(key, 0)*eachByte) ^ l.choice[1]&(keyByte(key, 1)*eachByte) ^ l.choice[2]&(keyByte(key, 2)*eachByte)
	x ^= x >> 4
	x ^= x >> 2
	x ^= x >> 1
	hi, lo := bits.Mul64(l.hash^key, 0xd1342543de82ef95)
	return x&eachByte*0x8040201008040201>>56<<(64-leading) | (hi^lo)>>leading
}

// put notes the key of host h.
func (s *sieve) put(h int32, key uint64) {
	for i := range keyBytes {
		for v := range uint64(256) {
			s.table.set(i<<8+int(v), h, bits.OnesCount64(v&keyByte(key, i))&1 != 0)
		}
	}
}

// pass returns those of some hosts that can be within a distance, and maybe others; valid until the next call. A host
// whose rate is 2^n times higher needs n leading ones more.
func (s *sieve) pass(l *lot, some []uint64, r *rates, distance uint64) []uint64 {
	m := append(s.seen[:0], some...)
	s.seen = m
	first := bits.Len64(bound(distance)) - (63 - boundShift)
	for k := range leading {
		n := max(first+k+1, 1)
		if n >= rateLevels || r.count[n] == 0 {
			break
		}
		over := r.above.row(n)[:len(m)]
		a, b, c := s.row(l, 0, k)[:len(m)], s.row(l, 1, k)[:len(m)], s.row(l, 2, k)[:len(m)]
		for i := range m {
			m[i] &= a[i] ^ b[i] ^ c[i] | ^over[i]
		}
	}
	return m
}

func (s *sieve) row(l *lot, i, k int) []uint64 {
	return s.table.row(i<<8 | int(l.choice[i]>>(8*k)&0xff))
}

// matrix is rows of bits, one bit a host.
type matrix struct {
	rows, words int
	bits        []uint64
}

func (m *matrix) row(i int) []uint64 { return m.bits[i*m.words : (i+1)*m.words] }

func (m *matrix) set(i int, h int32, is bool) {
	at := &m.bits[i*m.words+int(h>>6)]
	if bit := uint64(1) << (h & 63); is {
		*at |= bit
	} else {
		*at &^= bit
	}
}

// widen makes room for so many hosts.
func (m *matrix) widen(hosts int) {
	if hosts <= 64*m.words {
		return
	}
	old := *m
	m.words = max(2*m.words, (hosts+63)/64)
	m.bits = make([]uint64, m.rows*m.words)
	for i := range m.rows {
		copy(m.row(i), old.row(i))
	}
}
