package store

import "slices"

// node is an immutable search tree that counts its elements and adds up their weights. A root is a snapshot: readers and
// reconciliations keep it as long as they like while the core goes on. All operations cost O(log n); nil is the empty tree.
//
// The elements stand in leaves of up to maxLeaf, which takes a fifth of the memory of a node for each. Above them the tree is balanced by
// the number of leaves (Adams 1992, parameters of Hirai and Yamamoto 2011, whose weight, size + 1, is just that).
type node[T element[T]] struct {
	leaf   []T // sorted, never empty; nil in what stands above the leaves
	l, r   *node[T]
	first  T // the least element
	leaves int
	n      int
	sum    sum
}

type element[T any] interface {
	compare(T) int
	weight() sum
}

// sum is an element of the additive group modulo 2^64, four times: order does not matter and parts can be subtracted.
type sum [4]uint64

func (a sum) plus(b sum) sum {
	return sum{a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]}
}

func (a sum) minus(b sum) sum {
	return sum{a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]}
}

const (
	maxLeaf              = 64
	treeDelta, treeGamma = 3, 2
)

func (t *node[T]) size() int {
	if t == nil {
		return 0
	}
	return t.n
}

func (t *node[T]) total() sum {
	if t == nil {
		return sum{}
	}
	return t.sum
}

func leafOf[T element[T]](vs []T, total sum) *node[T] {
	return &node[T]{leaf: vs, first: vs[0], leaves: 1, n: len(vs), sum: total}
}

func weights[T element[T]](vs []T) (s sum) {
	for _, v := range vs {
		s = s.plus(v.weight())
	}
	return s
}

// over stands above two trees that are in balance. Two leaves that became small are one.
func over[T element[T]](l, r *node[T]) *node[T] {
	if l.leaf != nil && r.leaf != nil && l.n+r.n <= maxLeaf/2 {
		return leafOf(slices.Concat(l.leaf, r.leaf), l.sum.plus(r.sum))
	}
	return &node[T]{l: l, r: r, first: l.first, leaves: l.leaves + r.leaves, n: l.n + r.n, sum: l.sum.plus(r.sum)}
}

// balance stands above two trees of which one may have one leaf too many or too few; either may be empty.
func balance[T element[T]](l, r *node[T]) *node[T] {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case r.leaves > treeDelta*l.leaves:
		if r.l.leaves < treeGamma*r.r.leaves {
			return over(over(l, r.l), r.r)
		}
		return over(over(l, r.l.l), over(r.l.r, r.r))
	case l.leaves > treeDelta*r.leaves:
		if l.r.leaves < treeGamma*l.l.leaves {
			return over(l.l, over(l.r, r))
		}
		return over(over(l.l, l.r.l), over(l.r.r, r))
	}
	return over(l, r)
}

// find tells where v stands in a leaf, or would.
func (t *node[T]) find(v T) (int, bool) {
	return slices.BinarySearchFunc(t.leaf, v, func(a, b T) int { return a.compare(b) })
}

// with returns the tree with v in the place of what is equal to it.
func (t *node[T]) with(v T) *node[T] {
	switch {
	case t == nil:
		return leafOf([]T{v}, v.weight())
	case t.leaf != nil:
		return t.leafWith(v)
	case v.compare(t.r.first) < 0:
		return balance(t.l.with(v), t.r)
	}
	return balance(t.l, t.r.with(v))
}

func (t *node[T]) leafWith(v T) *node[T] {
	i, have := t.find(v)
	if have {
		vs := slices.Clone(t.leaf)
		vs[i] = v
		return leafOf(vs, t.sum.minus(t.leaf[i].weight()).plus(v.weight()))
	}
	if t.n == maxLeaf && i == t.n { // what comes in order fills its leaves
		return over(t, leafOf([]T{v}, v.weight()))
	}
	vs := make([]T, t.n+1)
	copy(vs, t.leaf[:i])
	vs[i] = v
	copy(vs[i+1:], t.leaf[i:])
	if t.n < maxLeaf {
		return leafOf(vs, t.sum.plus(v.weight()))
	}
	return grow(vs)
}

// without returns the tree without what is equal to v.
func (t *node[T]) without(v T) *node[T] {
	switch {
	case t == nil:
		return nil
	case t.leaf == nil && v.compare(t.r.first) < 0:
		return balance(t.l.without(v), t.r)
	case t.leaf == nil:
		return balance(t.l, t.r.without(v))
	}
	i, have := t.find(v)
	switch {
	case !have:
		return t
	case t.n == 1:
		return nil
	}
	return leafOf(slices.Concat(t.leaf[:i], t.leaf[i+1:]), t.sum.minus(t.leaf[i].weight()))
}

// grow builds a tree of sorted, distinct elements at once.
func grow[T element[T]](sorted []T) *node[T] {
	switch n := len(sorted); {
	case n == 0:
		return nil
	case n > maxLeaf:
		return over(grow(sorted[:n/2]), grow(sorted[n/2:]))
	}
	return leafOf(slices.Clone(sorted), weights(sorted))
}

// get finds what is equal to v.
func (t *node[T]) get(v T) (found T, ok bool) {
	if t == nil {
		return found, false
	}
	for t.leaf == nil {
		if v.compare(t.r.first) < 0 {
			t = t.l
		} else {
			t = t.r
		}
	}
	i, ok := t.find(v)
	if ok {
		found = t.leaf[i]
	}
	return found, ok
}

// at returns the element of rank i; i must be less than size.
func (t *node[T]) at(i int) T {
	for t.leaf == nil {
		if i < t.l.n {
			t = t.l
		} else {
			i -= t.l.n
			t = t.r
		}
	}
	return t.leaf[i]
}

// before counts and adds up the elements less than v.
func (t *node[T]) before(v T) (n int, s sum) {
	if t == nil {
		return 0, s
	}
	for t.leaf == nil {
		if v.compare(t.r.first) < 0 {
			t = t.l
			continue
		}
		n, s = n+t.l.n, s.plus(t.l.sum)
		t = t.r
	}
	i, _ := t.find(v)
	return n + i, s.plus(weights(t.leaf[:i]))
}

// slice calls yield for the elements of rank i up to but not including j, in order, until it returns false.
func (t *node[T]) slice(i, j int, yield func(T) bool) bool {
	switch {
	case t == nil || i >= j || i >= t.n:
		return true
	case t.leaf == nil:
		return t.l.slice(i, min(j, t.l.n), yield) && t.r.slice(max(i-t.l.n, 0), j-t.l.n, yield)
	}
	for _, v := range t.leaf[i:min(j, t.n)] {
		if !yield(v) {
			return false
		}
	}
	return true
}

// all iterates over the whole tree in order.
func (t *node[T]) all(yield func(T) bool) { t.slice(0, t.size(), yield) }
