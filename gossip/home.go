package gossip

import (
	"slices"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// candidate is a live member with its identity hashed once.
type candidate struct {
	id   ID
	hash uint64
}

// home is the rendezvous choice (highest random weight, Thaler and Ravishankar 1998) among the candidates: every node with
// the same view names the same home, and a member that comes or goes moves only its own share.
func home(root store.Key, members []candidate) ID {
	h := fnv1a(root.Kind, root.Namespace, root.Name)
	var best ID
	var top uint64
	for _, m := range members {
		if w := mix(h ^ m.hash); best == "" || w > top || w == top && m.id < best {
			best, top = m.id, w
		}
	}
	return best
}

// homes are up to most candidates in the order in which they are the home, as those before them go.
func homes(root store.Key, members []candidate, most int) (out []ID) {
	left := slices.Clone(members)
	for len(left) > 0 && len(out) < most {
		next := home(root, left)
		out = append(out, next)
		left = slices.DeleteFunc(left, func(c candidate) bool { return c.id == next })
	}
	return out
}

func candidateOf(id ID) candidate { return candidate{id: id, hash: mix(fnv1a(string(id)))} }

// fnv1a hashes the fields with a separator after each, so that ("a","bc") and ("ab","c") differ.
func fnv1a(fields ...string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, f := range fields {
		for i := range len(f) {
			h = (h ^ uint64(f[i])) * prime
		}
		h *= prime // a NUL byte
	}
	return h
}

// mix is the finaliser of splitmix64 (Steele, Lea and Flood 2014). FNV-1a alone leaves the high bits of similar keys
// correlated, which makes rendezvous unfair.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
