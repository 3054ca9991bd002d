package placement

import (
	"cmp"
	"slices"
)

// world is the state of one decision: hosts with what they have left, sorted by ID, and what is counted in their
// topology domains. Its maps are only looked up, never walked.
type world struct {
	opts     Options
	logs     *logTable
	hosts    []Host
	labels   []map[string]string
	barred   []string // why the host takes no new pods
	hash     []uint64
	inverse  []uint64
	blend    []int16 // of what is free
	total    []amounts
	free     []amounts
	ports    [][]HostPort
	extended map[string]int32 // index into extra
	extra    [][]int64        // free extended resources, by resource, then host; a host without it has 0
	byID     map[string]int32
	byName   map[string][]int32

	taintSets   [][]Taint // distinct ones
	taintSet    []int32   // of each host
	topologies  map[string]*topology
	selectors   map[string]*selector
	inOrder     []*selector
	groups      map[groupKey]*group
	ledgers     map[string]*ledger
	statics     map[string]*static
	specs       map[string]*spec
	zones       *topology
	owners      map[string]*owner
	selectIndex selectIndex
}

type amounts struct{ cpu, memory, disk, pods int64 }

func newWorld(hosts []Host, o Options) *world {
	w := &world{
		opts: o, logs: newLogTable(),
		extended: map[string]int32{}, byID: map[string]int32{}, byName: map[string][]int32{},
		topologies: map[string]*topology{}, selectors: map[string]*selector{}, groups: map[groupKey]*group{},
		ledgers: map[string]*ledger{}, statics: map[string]*static{}, specs: map[string]*spec{}, owners: map[string]*owner{},
	}
	w.hosts = slices.Clone(hosts)
	slices.SortStableFunc(w.hosts, func(a, b Host) int { return cmp.Compare(a.ID, b.ID) })
	w.dropTwins()
	taintSets := map[string]int32{}
	for i := range w.hosts {
		w.addHost(int32(i), taintSets)
	}
	w.zones = w.topology("topology.kubernetes.io/zone")
	return w
}

// dropTwins makes one bare host of those that share an ID: nobody can say which of them is meant.
func (w *world) dropTwins() {
	kept := w.hosts[:0]
	for _, h := range w.hosts {
		if n := len(kept); n > 0 && kept[n-1].ID == h.ID {
			kept[n-1] = Host{ID: h.ID, NotReady: "its ID is there twice"}
			continue
		}
		kept = append(kept, h)
	}
	w.hosts = kept
}

func (w *world) addHost(i int32, taintSets map[string]int32) {
	h := &w.hosts[i]
	if err := h.validate(); err != nil {
		*h = Host{ID: h.ID, Name: h.Name, NotReady: err.Error()}
	}
	w.byID[h.ID] = i
	w.byName[h.Name] = append(w.byName[h.Name], i)
	w.barred = append(w.barred, h.NotReady)
	w.hash = append(w.hash, name(h.ID))
	w.inverse = append(w.inverse, inverse(weight(&h.Allocatable)))
	a := amounts{h.Allocatable.CPU, h.Allocatable.Memory, h.Allocatable.Disk, h.Allocatable.Pods}
	w.total, w.free, w.ports = append(w.total, a), append(w.free, a), append(w.ports, nil)
	w.blend = append(w.blend, w.logs.blend(a.cpu, a.memory))
	for _, e := range h.Allocatable.Extended {
		w.extra[w.extendedIndex(e.Name)][i] = e.Value
	}
	labels := make(map[string]string, len(h.Labels))
	for _, l := range h.Labels {
		labels[l.Key] = l.Value
	}
	w.labels = append(w.labels, labels)

	var k key
	for _, t := range h.Taints {
		k.string(t.Key).string(t.Value).number(int64(t.Effect))
	}
	set, known := taintSets[k.s()]
	if !known {
		set = int32(len(w.taintSets))
		taintSets[k.s()] = set
		w.taintSets = append(w.taintSets, h.Taints)
	}
	w.taintSet = append(w.taintSet, set)
}

func (w *world) extendedIndex(name string) int32 {
	i, known := w.extended[name]
	if !known {
		i = int32(len(w.extra))
		w.extended[name] = i
		w.extra = append(w.extra, make([]int64, len(w.hosts)))
	}
	return i
}

// take books what a pod of this shape uses on host h.
func (w *world) take(s *shape, h int32) {
	f := &w.free[h]
	f.cpu, f.memory, f.disk, f.pods = less(f.cpu, s.cpu), less(f.memory, s.memory), less(f.disk, s.disk), less(f.pods, s.pods)
	w.blend[h] = w.logs.blend(f.cpu, f.memory)
	for _, e := range s.extended {
		w.extra[e.index][h] = less(w.extra[e.index][h], e.value)
	}
	w.ports[h] = append(w.ports[h], s.ports...)
	w.count(s, h)
}

// less is a − b, stopping far below zero instead of overflowing.
func less(a, b int64) int64 { return max(a-b, -4*mostAmount) }

// fits says whether host h has what the shape requests.
func (w *world) fits(s *shape, h int32) bool {
	f := &w.free[h]
	if s.pods > f.pods || s.cpu > 0 && s.cpu > f.cpu || s.memory > 0 && s.memory > f.memory || s.disk > 0 && s.disk > f.disk {
		return false
	}
	for _, e := range s.extended {
		if e.value > 0 && e.value > w.extra[e.index][h] {
			return false
		}
	}
	return true
}

// open says whether the host ports that the shape takes are free on host h.
func (w *world) open(s *shape, h int32) bool {
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
