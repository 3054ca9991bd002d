package placement

import "slices"

// record is what is kept of a pod.
type record struct {
	uid, name string
	hash      uint64
	spec      *spec
	set       *labelset
	shape     *shape // the last that it was found to have: shapeOf
	owner     *owner
	claim     string // host ID that it claims, also of a host that is not there
	nominated string
	invalid   string // why it cannot be placed
	seen      int    // in which Delta it came last
	moved     int    // which Plan moved it while it ran
	order     uint64 // in the queue
	host      int32  // index, −1: none
	bound     int32  // index of its Bind in the Plan that is being made, −1: none
	next      int32  // pod of the same host
	prev      int32
	nextOfSet int32 // pod with the same label set
	prevOfSet int32

	leaving, gated, waits, reserved bool
}

// putPod takes a new or changed pod.
func (w *world) putPod(p *Pod) {
	i, known := w.byUID[p.UID]
	if known && w.pods[i].seen == w.delta {
		w.twin(i, p)
		return
	}
	if known {
		w.lastSpec, w.lastSet = w.pods[i].spec, w.pods[i].set // which it mostly keeps
		if w.unchanged(i, p) {
			return
		}
		w.forget(i)
	}
	i = w.newRecord()
	w.byUID[p.UID] = i
	w.record(i, p)
}

// unchanged tells whether the pod is what record i says.
func (w *world) unchanged(i int32, p *Pod) bool {
	r := &w.pods[i]
	if r.invalid != "" || r.claim != p.Host || r.nominated != p.Nominated || r.leaving != p.Leaving || r.gated != p.Gated || r.name != p.Name || r.ownerName() != p.Owner || len(w.twins[p.UID]) > 0 ||
		w.spec(p) != r.spec || w.labelset(p) != r.set {
		return false
	}
	r = &w.pods[i]
	r.seen = w.delta
	return true
}

func (r *record) ownerName() string {
	if r.owner == nil {
		return ""
	}
	return r.owner.name
}

func (w *world) newRecord() int32 {
	if n := len(w.spare); n > 0 {
		i := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return i
	}
	w.pods = append(w.pods, record{})
	return int32(len(w.pods) - 1)
}

func (w *world) record(i int32, p *Pod) {
	s, l := w.spec(p), w.labelset(p)
	invalid := ""
	if why := firstError(p.UID, s.invalid, l.invalid); why != nil {
		invalid = why.Error()
		if p.Host != "" {
			p = p.bare()
			s, l = w.spec(p), w.labelset(p)
		}
	}
	w.pods[i] = record{
		uid: p.UID, name: p.Name, hash: name(p.UID), spec: s, set: l, owner: w.owner(p.Owner), claim: p.Host, nominated: p.Nominated,
		invalid: invalid, seen: w.delta, host: -1, bound: -1, next: -1, prev: -1, nextOfSet: l.pods, prevOfSet: -1,
		leaving: p.Leaving, gated: p.Gated,
	}
	if l.pods >= 0 {
		w.pods[l.pods].prevOfSet = i
	}
	l.pods = i
	s.watch(1)
	switch r := &w.pods[i]; {
	case r.claim != "":
		if h, here := w.byID[r.claim]; here {
			w.settle(i, h)
		} else {
			w.orphans[r.claim] = append(w.orphans[r.claim], i)
		}
	case r.leaving || r.gated:
	case invalid != "":
		w.refused = append(w.refused, i)
	default:
		w.await(i)
	}
}

// bare is what counts of a claimed pod that is invalid: what it holds, as far as that makes sense.
func (p *Pod) bare() *Pod {
	amount := func(n int64) int64 { return min(max(n, 0), mostAmount) }
	r := &p.Requests
	ports := slices.DeleteFunc(slices.Clone(p.Ports), func(h HostPort) bool { return h.validate() != nil })
	return &Pod{UID: p.UID, Namespace: p.Namespace, Name: p.Name, Owner: p.Owner, Host: p.Host, Leaving: p.Leaving, Ports: ports, Priority: p.Priority,
		Requests: Resources{CPU: amount(r.CPU), Memory: amount(r.Memory), Disk: amount(r.Disk), Pods: amount(r.Pods)}}
}

// twin notes that a UID came twice: nobody can say which is meant. What each claims or asks for is booked, neither is placed.
func (w *world) twin(i int32, p *Pod) {
	j := w.newRecord()
	w.record(j, p)
	w.twins[p.UID] = append(w.twins[p.UID], j)
	for _, k := range []int32{i, j} {
		r := &w.pods[k]
		if r.claim != "" {
			continue
		}
		r.invalid = "its UID is there twice"
		if r.waits {
			r.waits = false
			w.refused = append(w.refused, k)
		}
	}
}

// dropPod forgets a pod.
func (w *world) dropPod(uid string) {
	i, known := w.byUID[uid]
	if !known {
		return
	}
	w.forget(i)
	delete(w.byUID, uid)
}

// forget erases a pod and its twins.
func (w *world) forget(i int32) {
	uid := w.pods[i].uid
	w.erase(i)
	for _, j := range w.twins[uid] {
		w.erase(j)
	}
	delete(w.twins, uid)
}

func (w *world) erase(i int32) {
	r := &w.pods[i]
	switch {
	case r.host >= 0:
		w.unsettle(i)
	case r.claim != "":
		if o := slices.DeleteFunc(w.orphans[r.claim], func(x int32) bool { return x == i }); len(o) > 0 {
			w.orphans[r.claim] = o
		} else {
			delete(w.orphans, r.claim)
		}
	}
	if r.prevOfSet >= 0 {
		w.pods[r.prevOfSet].nextOfSet = r.nextOfSet
	} else {
		r.set.pods = r.nextOfSet
	}
	if r.nextOfSet >= 0 {
		w.pods[r.nextOfSet].prevOfSet = r.prevOfSet
	}
	r.spec.watch(-1)
	*r = record{host: -1}
	w.dead = append(w.dead, i)
}

// settle books a pod on host h.
func (w *world) settle(i, h int32) {
	r := &w.pods[i]
	r.host, r.prev, r.next = h, -1, w.heads[h]
	if r.next >= 0 {
		w.pods[r.next].prev = i
	}
	w.heads[h] = i
	w.ranks.add(r.spec.pod.Priority, 1)
	w.use(r.spec, h)
	r.set.placed++
	w.counted(w.shapeOf(r), h, r.leaving, 1)
	w.lodge(r.owner, h, 1)
	w.stamp++
}

// unsettle takes a pod off its host.
func (w *world) unsettle(i int32) {
	r := &w.pods[i]
	h := r.host
	if r.prev >= 0 {
		w.pods[r.prev].next = r.next
	} else {
		w.heads[h] = r.next
	}
	if r.next >= 0 {
		w.pods[r.next].prev = r.prev
	}
	w.ranks.add(r.spec.pod.Priority, -1)
	r.host, r.prev, r.next = -1, -1, -1
	if !w.giveBack(r.spec, h) {
		w.recount(h)
	}
	r.set.placed--
	w.counted(w.shapeOf(r), h, r.leaving, -1)
	w.lodge(r.owner, h, -1)
	w.relief++
	w.stamp++
}

// shapeOf is the shape of a pod that is not invalid: another than before when selectors that choose it have come since.
func (w *world) shapeOf(r *record) *shape {
	if r.shape == nil || r.shape.kind != r.set.kind {
		r.shape = w.shape(r.spec, r.set.kind)
	}
	return r.shape
}

// await puts a pod into the queue.
func (w *world) await(i int32) {
	w.pods[i].waits = true
	w.queue = append(w.queue, i)
	w.sorted = false
}

func firstError(uid string, errs ...error) error {
	if uid == "" {
		return errNoUID
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
