package placement

import (
	"cmp"
	"math/bits"
	"slices"
)

// Place gives every unplaced pod a host or says why it has none. Claimed pods stay where they are and only count.
//
// Pods of higher priority are decided first; among equals those with the fewest possible hosts, then the largest, then
// by hash. A pod that only waits for the company of another, or for a spread to even out, is tried again when that has
// changed. What a View holds that Validate refuses is left out and reported: a wrong host takes no pods, a wrong pod is
// pending.
//
// Safe for concurrent use; the View is only read.
func Place(v View, o Options) Plan {
	w := newWorld(v.Hosts, o)
	q := w.sort(v.Pods)
	var plan Plan
	c := newChooser(w)
	others := make([]string, 0, len(q.waiting)*(w.opts.candidates()-1))
	for progress := true; progress; {
		progress = false
		left := q.waiting[:0]
		for _, p := range q.waiting {
			if p.shape.hopeless() {
				left = append(left, p)
				continue
			}
			cs := c.candidates(p.shape, p.hash)
			if len(cs) == 0 {
				p.shape.fail()
				left = append(left, p)
				continue
			}
			progress = true
			w.rank(p.shape, p.owner, cs)
			from := len(others)
			for _, x := range cs[1:min(len(cs), w.opts.candidates())] {
				others = append(others, w.hosts[x.host].ID)
			}
			plan.Binds = append(plan.Binds, Bind{p.uid, w.hosts[cs[0].host].ID, others[from:len(others):len(others)]})
			w.take(p.shape, cs[0].host)
			p.owner.add(w, cs[0].host)
		}
		q.waiting = left
	}
	plan.Pending = w.pending(q)
	return plan
}

// waiter is a pod to place.
type waiter struct {
	uid      string
	hash     uint64
	priority int32
	room     int // power of two of the number of hosts that it may choose
	size     int // power of two of what it requests
	shape    *shape
	owner    *owner
}

type queue struct {
	waiting []waiter
	invalid []Pending
}

// sort books the claimed pods and puts the others in order.
func (w *world) sort(pods []Pod) queue {
	var q queue
	var claimed, open []*Pod
	uids := make([]string, 0, len(pods))
	for i := range pods {
		uids = append(uids, pods[i].UID)
	}
	double := twice(uids)
	for i := range pods {
		p := &pods[i]
		_, twin := slices.BinarySearch(double, p.UID)
		why := p.validate()
		switch {
		case p.Host != "":
			if why != nil {
				p = p.bare()
			}
			claimed = append(claimed, p)
		case p.Leaving || p.Gated:
		case twin:
			q.invalid = append(q.invalid, Pending{Pod: p.UID, Reasons: []Reason{{Text: reasonInvalid + "its UID is there twice"}}})
		case why != nil:
			q.invalid = append(q.invalid, Pending{Pod: p.UID, Reasons: []Reason{{Text: reasonInvalid + why.Error()}}})
		default:
			open = append(open, p)
		}
	}
	shapes := w.shapes(claimed, open)
	for i, p := range claimed {
		if h, here := w.byID[p.Host]; here {
			w.take(shapes[i], h)
			w.owner(p.Owner).add(w, h)
		}
	}
	for i, p := range open {
		s := shapes[len(claimed)+i]
		q.waiting = append(q.waiting, waiter{
			uid: p.UID, hash: name(p.UID), priority: p.Priority, shape: s, owner: w.owner(p.Owner),
			room: bits.Len(uint(len(s.static.hosts))), size: bits.Len64(uint64(size(p.Requests.CPU, p.Requests.Memory))),
		})
	}
	slices.SortFunc(q.waiting, func(a, b waiter) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.room, b.room), cmp.Compare(b.size, a.size),
			cmp.Compare(a.hash, b.hash), cmp.Compare(a.uid, b.uid))
	})
	slices.SortFunc(q.invalid, func(a, b Pending) int { return cmp.Compare(a.Pod, b.Pod) })
	q.invalid = slices.CompactFunc(q.invalid, func(a, b Pending) bool { return a.Pod == b.Pod })
	return q
}

// bare is what counts of a claimed pod that is invalid: what it holds, as far as that makes sense.
func (p *Pod) bare() *Pod {
	amount := func(n int64) int64 { return min(max(n, 0), mostAmount) }
	r := &p.Requests
	return &Pod{UID: p.UID, Namespace: p.Namespace, Owner: p.Owner, Host: p.Host, Leaving: p.Leaving, Ports: p.Ports,
		Requests: Resources{CPU: amount(r.CPU), Memory: amount(r.Memory), Disk: amount(r.Disk), Pods: amount(r.Pods)}}
}

// shapes returns the shape of each pod. All demands must be known before the first kind, because a kind is what the
// selectors of all pods see.
func (w *world) shapes(lists ...[]*Pod) []*shape {
	type pair struct {
		spec *spec
		kind *kind
	}
	var specs []*spec
	for _, l := range lists {
		for _, p := range l {
			specs = append(specs, w.spec(p))
		}
	}
	w.index()
	known := map[pair]*shape{}
	out := make([]*shape, 0, len(specs))
	for _, l := range lists {
		for _, p := range l {
			x := pair{specs[len(out)], w.kind(p)}
			s := known[x]
			if s == nil {
				s = &shape{spec: x.spec, kind: x.kind}
				known[x] = s
			}
			out = append(out, s)
		}
	}
	return out
}

// hopeless says that a pod of this shape was refused everywhere and nothing has changed since that could help: hosts
// only get fuller, but company comes and spreads even out.
func (s *shape) hopeless() bool { return s.failed && s.version == s.changes() }

func (s *shape) fail() { s.failed, s.version = true, s.changes() }

func (s *shape) changes() (sum int) {
	for _, g := range s.with {
		sum += g.version
	}
	for i := range s.hard {
		sum += s.hard[i].ledger.version
	}
	return sum
}

// pending explains what is left, by the state at the end, so that every reason is true when it is read.
func (w *world) pending(q queue) []Pending {
	out := make([]Pending, 0, len(q.waiting)+len(q.invalid))
	for _, p := range q.waiting {
		if p.shape.pending == nil {
			why := w.explain(p.shape)
			p.shape.pending = &why
		}
		one := *p.shape.pending
		one.Pod = p.uid
		out = append(out, one)
	}
	return append(out, q.invalid...)
}
