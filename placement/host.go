package placement

import (
	"cmp"
	"slices"
)

// hosts is the table of hosts, one column a property, so that a search reads only what it compares. A host keeps its
// index while it is there; indexes of hosts that left are used again. No decision depends on the index.
type hosts struct {
	byID    map[string]int32
	byName  map[string][]int32
	id      []string // "": nobody
	view    []Host
	barred  []string // why it takes no new pods; "" when it does
	last    []bool   // it is a last resort
	resorts int      // how many are
	key     []uint64
	sieve   sieve
	inverse []uint64
	toll    []uint8 // of scarcity, half octaves
	blend   []int16 // of what is free
	total   []amounts
	free    []amounts
	ports   [][]HostPort
	heads   []int32 // head of the list of pods, −1: none
	taints  []int32 // taint set
	vacant  []int32
	present int

	extended  map[string]int32 // index into extra
	extra     [][]int64        // free extended resources, by resource, then host; a host without it has 0
	taintSets [][]Taint        // distinct ones
}

type amounts struct{ cpu, memory, disk, pods int64 }

func newHosts() hosts {
	return hosts{byID: map[string]int32{}, byName: map[string][]int32{}, extended: map[string]int32{}, sieve: newSieve()}
}

// putHost takes a new or changed host.
func (w *world) putHost(h Host) {
	i, known := w.byID[h.ID]
	if !known {
		i = w.newHost(h.ID)
	} else if sameHost(&w.view[i], &h) {
		return
	}
	claims := w.evacuate(i)
	before := w.view[i]
	if known {
		w.unname(i)
	}
	w.describe(i, h)
	if known && sameFace(&before, &w.view[i]) {
		w.judgeStatics(i)
	} else {
		w.judgeHost(i, before.Name)
	}
	for _, p := range claims {
		w.settle(p, i)
	}
	if !known {
		for _, p := range w.orphans[h.ID] {
			w.settle(p, i)
		}
		delete(w.orphans, h.ID)
	}
	w.relief++
	w.stamp++
}

func sameHost(a, b *Host) bool {
	return a.Name == b.Name && a.Cordoned == b.Cordoned && a.NotReady == b.NotReady && a.Joined == b.Joined && a.LastResort == b.LastResort &&
		slices.Equal(a.Labels, b.Labels) && slices.Equal(a.Taints, b.Taints) && sameResources(&a.Allocatable, &b.Allocatable)
}

// sameFace compares what preferences, topologies and spreads see of a host: it has only become ready, for instance, or not ready.
func sameFace(a, b *Host) bool {
	return a.Name == b.Name && a.Cordoned == b.Cordoned && slices.Equal(a.Labels, b.Labels) && slices.Equal(a.Taints, b.Taints)
}

func sameResources(a, b *Resources) bool {
	return a.CPU == b.CPU && a.Memory == b.Memory && a.Disk == b.Disk && a.Pods == b.Pods && slices.Equal(a.Extended, b.Extended)
}

// dropHost forgets a host; what claims it claims nothing until it is back.
func (w *world) dropHost(id string) {
	i, known := w.byID[id]
	if !known {
		return
	}
	if claims := w.evacuate(i); claims != nil {
		w.orphans[id] = claims
	}
	w.unname(i)
	delete(w.byID, id)
	before := w.view[i].Name
	w.id[i], w.view[i], w.barred[i] = "", Host{}, ""
	w.setLast(i, false)
	w.judgeHost(i, id, before)
	w.total[i], w.free[i], w.inverse[i] = amounts{}, amounts{}, 0
	for _, e := range w.extra {
		e[i] = 0
	}
	w.vacant = append(w.vacant, i)
	w.present--
	w.relief++
	w.stamp++
}

func (w *world) newHost(id string) int32 {
	w.present++
	if n := len(w.vacant); n > 0 {
		i := w.vacant[n-1]
		w.vacant = w.vacant[:n-1]
		w.byID[id] = i
		return i
	}
	i := int32(len(w.id))
	w.byID[id] = i
	w.id, w.view, w.barred = append(w.id, ""), append(w.view, Host{}), append(w.barred, "")
	w.last = append(w.last, false)
	w.key, w.inverse, w.toll = append(w.key, 0), append(w.inverse, 0), append(w.toll, 0)
	w.blend, w.taints = append(w.blend, 0), append(w.taints, 0)
	w.total, w.free = append(w.total, amounts{}), append(w.free, amounts{})
	w.ports, w.heads = append(w.ports, nil), append(w.heads, -1)
	for e := range w.extra {
		w.extra[e] = append(w.extra[e], 0)
	}
	w.widen()
	return i
}

func (t *hosts) setLast(i int32, is bool) {
	if t.last[i] {
		t.resorts--
	}
	if is {
		t.resorts++
	}
	t.last[i] = is
}

// lastLast orders the hosts that are a last resort behind the others.
func (t *hosts) lastLast(a, b int32) int {
	switch {
	case t.last[a] == t.last[b]:
		return 0
	case t.last[a]:
		return 1
	}
	return -1
}

// describe writes the columns of host i that do not depend on pods.
func (w *world) describe(i int32, h Host) {
	if err := h.validate(); err != nil {
		h = Host{ID: h.ID, Name: h.Name, NotReady: err.Error()}
	}
	w.id[i], w.view[i], w.barred[i] = h.ID, h, h.NotReady
	w.setLast(i, h.LastResort)
	w.byName[h.Name] = append(w.byName[h.Name], i)
	if key := name(h.ID); key != w.key[i] {
		w.key[i] = key
		w.sieve.put(i, key)
	}
	w.inverse[i] = inverse(weight(&h.Allocatable))
	a := amounts{h.Allocatable.CPU, h.Allocatable.Memory, h.Allocatable.Disk, h.Allocatable.Pods}
	w.total[i], w.free[i], w.ports[i] = a, a, w.ports[i][:0]
	w.blend[i] = w.logs.blend(a.cpu, a.memory)
	w.reprice(i)
	for _, e := range w.extra {
		e[i] = 0
	}
	for _, e := range h.Allocatable.Extended {
		w.extra[w.extendedIndex(e.Name)][i] = e.Value
	}
	w.taints[i] = w.taintIndex(h.Taints)
}

func (w *world) unname(i int32) {
	n := w.view[i].Name
	w.byName[n] = slices.DeleteFunc(w.byName[n], func(x int32) bool { return x == i })
	if len(w.byName[n]) == 0 {
		delete(w.byName, n)
	}
}

// evacuate takes all pods off host i and returns them.
func (w *world) evacuate(i int32) (claims []int32) {
	for w.heads[i] >= 0 {
		p := w.heads[i]
		claims = append(claims, p)
		w.unsettle(p)
	}
	return claims
}

func (t *hosts) extendedIndex(name string) int32 {
	i, known := t.extended[name]
	if !known {
		i = int32(len(t.extra))
		t.extended[name] = i
		t.extra = append(t.extra, make([]int64, len(t.id)))
	}
	return i
}

func (w *world) taintIndex(ts []Taint) int32 {
	order := func(a, b Taint) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Effect, b.Effect))
	}
	if !slices.IsSortedFunc(ts, order) {
		ts = slices.SortedFunc(slices.Values(ts), order)
	}
	for i := range w.taintSets {
		if slices.Equal(w.taintSets[i], ts) {
			return int32(i)
		}
	}
	w.taintSets = append(w.taintSets, ts)
	for _, st := range w.allStatics {
		st.judge(ts)
	}
	return int32(len(w.taintSets) - 1)
}

const floor = -4 * mostAmount

// less is a − b, stopping far below zero instead of overflowing.
func less(a, b int64) int64 { return max(a-b, floor) }

// use books (or gives back) what a pod of spec s uses on host h.
func (w *world) use(s *spec, h int32) {
	f := &w.free[h]
	f.cpu, f.memory, f.disk, f.pods = less(f.cpu, s.cpu), less(f.memory, s.memory), less(f.disk, s.disk), less(f.pods, s.pods)
	w.blended(h)
	for i := range s.extended {
		e := &s.extended[i]
		w.extra[e.index][h] = less(w.extra[e.index][h], e.value)
	}
	if s.ports != nil {
		w.ports[h] = append(w.ports[h], s.ports...)
	}
}

// giveBack undoes use. At the floor sums are lost: then the caller counts anew.
func (w *world) giveBack(s *spec, h int32) (exact bool) {
	f := &w.free[h]
	exact = f.cpu > floor && f.memory > floor && f.disk > floor && f.pods > floor
	f.cpu, f.memory, f.disk, f.pods = f.cpu+s.cpu, f.memory+s.memory, f.disk+s.disk, f.pods+s.pods
	w.blended(h)
	for i := range s.extended {
		e := &s.extended[i]
		exact = exact && w.extra[e.index][h] > floor
		w.extra[e.index][h] += e.value
	}
	for i := range s.ports {
		if at := slices.Index(w.ports[h], s.ports[i]); at >= 0 {
			w.ports[h] = slices.Delete(w.ports[h], at, at+1)
		}
	}
	return exact
}

// recount sums up anew what the pods of host h use.
func (w *world) recount(h int32) {
	a := &w.view[h].Allocatable
	w.free[h], w.ports[h] = w.total[h], w.ports[h][:0]
	for _, e := range w.extra {
		e[h] = 0
	}
	for _, e := range a.Extended {
		w.extra[w.extended[e.Name]][h] = e.Value
	}
	for p := w.heads[h]; p >= 0; p = w.pods[p].next {
		w.use(w.pods[p].spec, h)
	}
	w.blended(h)
}

// fits says whether host h has what the spec requests.
func (w *world) fits(s *spec, h int32) bool {
	f := &w.free[h]
	if s.need.pods > f.pods || s.need.cpu > f.cpu || s.need.memory > f.memory || s.need.disk > f.disk {
		return false
	}
	for i := range s.extended {
		if e := &s.extended[i]; e.value > 0 && e.value > w.extra[e.index][h] {
			return false
		}
	}
	return true
}

// open says whether the host ports that the spec takes are free on host h.
func (w *world) open(s *spec, h int32) bool {
	for i := range s.ports {
		for j := range w.ports[h] {
			if s.ports[i].clashes(&w.ports[h][j]) {
				return false
			}
		}
	}
	return true
}

func (p *HostPort) clashes(q *HostPort) bool {
	return p.Port == q.Port && p.protocol() == q.protocol() && (p.everywhere() || q.everywhere() || p.IP == q.IP)
}

func (p *HostPort) everywhere() bool { return p.IP == "" || p.IP == "0.0.0.0" }

func (p *HostPort) protocol() string {
	if p.Protocol == "" {
		return "TCP"
	}
	return p.Protocol
}
