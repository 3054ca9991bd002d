package store

// node is an immutable weight-balanced search tree (Adams 1992, parameters of Hirai and Yamamoto 2011) that counts its
// elements and adds up their weights. A root is a snapshot: readers and reconciliations keep it as long as they like while
// the core goes on. All operations cost O(log n); nil is the empty tree.
type node[T element[T]] struct {
	v    T
	l, r *node[T]
	n    int
	sum  sum
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

const treeDelta, treeGamma = 3, 2

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

func join2[T element[T]](v T, l, r *node[T]) *node[T] {
	return &node[T]{v, l, r, l.size() + r.size() + 1, l.total().plus(r.total()).plus(v.weight())}
}

func balance[T element[T]](v T, l, r *node[T]) *node[T] {
	ln, rn := l.size(), r.size()
	switch {
	case ln+rn < 2:
	case rn > treeDelta*ln:
		if r.l.size() < treeGamma*r.r.size() {
			return join2(r.v, join2(v, l, r.l), r.r)
		}
		return join2(r.l.v, join2(v, l, r.l.l), join2(r.v, r.l.r, r.r))
	case ln > treeDelta*rn:
		if l.r.size() < treeGamma*l.l.size() {
			return join2(l.v, l.l, join2(v, l.r, r))
		}
		return join2(l.r.v, join2(l.v, l.l, l.r.l), join2(v, l.r.r, r))
	}
	return join2(v, l, r)
}

// with returns the tree with v in the place of what is equal to it.
func (t *node[T]) with(v T) *node[T] {
	if t == nil {
		return join2(v, nil, nil)
	}
	switch c := v.compare(t.v); {
	case c < 0:
		return balance(t.v, t.l.with(v), t.r)
	case c > 0:
		return balance(t.v, t.l, t.r.with(v))
	}
	return join2(v, t.l, t.r)
}

// without returns the tree without what is equal to v.
func (t *node[T]) without(v T) *node[T] {
	if t == nil {
		return nil
	}
	switch c := v.compare(t.v); {
	case c < 0:
		return balance(t.v, t.l.without(v), t.r)
	case c > 0:
		return balance(t.v, t.l, t.r.without(v))
	}
	if t.l == nil {
		return t.r
	}
	if t.r == nil {
		return t.l
	}
	first := t.r.at(0)
	return balance(first, t.l, t.r.without(first))
}

// grow builds a tree of sorted, distinct elements at once.
func grow[T element[T]](sorted []T) *node[T] {
	if len(sorted) == 0 {
		return nil
	}
	mid := len(sorted) / 2
	return join2(sorted[mid], grow(sorted[:mid]), grow(sorted[mid+1:]))
}

// get finds what is equal to v.
func (t *node[T]) get(v T) (found T, ok bool) {
	for t != nil {
		switch c := v.compare(t.v); {
		case c < 0:
			t = t.l
		case c > 0:
			t = t.r
		default:
			return t.v, true
		}
	}
	return found, false
}

// at returns the element of rank i; i must be less than size.
func (t *node[T]) at(i int) T {
	for {
		switch ln := t.l.size(); {
		case i < ln:
			t = t.l
		case i > ln:
			i -= ln + 1
			t = t.r
		default:
			return t.v
		}
	}
}

// before counts and adds up the elements less than v.
func (t *node[T]) before(v T) (n int, s sum) {
	for t != nil {
		if v.compare(t.v) <= 0 {
			t = t.l
			continue
		}
		n += t.l.size() + 1
		s = s.plus(t.l.total()).plus(t.v.weight())
		t = t.r
	}
	return n, s
}

// slice calls yield for the elements of rank i up to but not including j, in order, until it returns false.
func (t *node[T]) slice(i, j int, yield func(T) bool) bool {
	if t == nil || i >= j {
		return true
	}
	ln := t.l.size()
	if i < ln && !t.l.slice(i, min(j, ln), yield) {
		return false
	}
	if i <= ln && ln < j && !yield(t.v) {
		return false
	}
	return j <= ln+1 || t.r.slice(max(i-ln-1, 0), j-ln-1, yield)
}

// all iterates over the whole tree in order.
func (t *node[T]) all(yield func(T) bool) { t.slice(0, t.size(), yield) }
