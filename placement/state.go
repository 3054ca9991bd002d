package placement

import (
	"cmp"
	"slices"
)

// Delta is what changed since the last Plan. Hosts, Pods and Budgets are new or changed and come whole; the Gone lists hold
// IDs and UIDs. What is gone is taken away before the rest is added. The State keeps references to the slices in them,
// which must not change any more.
type Delta struct {
	Hosts       []Host
	Pods        []Pod
	Budgets     []Budget
	GoneHosts   []string
	GonePods    []string
	GoneBudgets []string
}

// State is a View that decisions are made on again and again. Every Plan counts as carried out: bound and moved pods are
// claimed by their hosts, victims are leaving, until a Delta says otherwise. Apply gives the Plan that Place would give
// for the same View, at the cost of what changed. One goroutine at a time.
type State struct{ w *world }

// NewState knows nothing yet.
func NewState(o Options) *State { return &State{newWorld(o)} }

// Apply takes in what changed, decides, and counts the Plan as carried out.
func (s *State) Apply(d Delta) Plan {
	if s.w.littered() {
		v := s.View()
		s.w = newWorld(s.w.opts)
		s.w.apply(&Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: v.Budgets})
		s.w.tidy()
	}
	s.w.apply(&d)
	return s.w.decide()
}

// Place gives every unplaced pod a host or says why it has none. Claimed pods stay where they are and only count, unless
// Options allow that some move or leave. What a View holds that Validate refuses is left out and reported: a wrong host
// takes no pods, a wrong pod is pending.
//
// Safe for concurrent use; the View is only read.
func Place(v View, o Options) Plan {
	w := newWorld(o)
	w.apply(&Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: v.Budgets})
	return w.decide()
}

// View is what the State knows, with the Plans so far carried out, sorted by ID and UID.
func (s *State) View() View {
	w := s.w
	var v View
	for i, id := range w.id {
		if id != "" {
			v.Hosts = append(v.Hosts, w.view[i])
		}
	}
	slices.SortFunc(v.Hosts, func(a, b Host) int { return cmp.Compare(a.ID, b.ID) })
	for i := range w.pods {
		if r := &w.pods[i]; r.spec != nil {
			v.Pods = append(v.Pods, r.view())
		}
	}
	slices.SortFunc(v.Pods, func(a, b Pod) int { return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Host, b.Host)) })
	for _, b := range w.budgets {
		v.Budgets = append(v.Budgets, b.view)
	}
	slices.SortFunc(v.Budgets, func(a, b Budget) int { return cmp.Compare(a.ID, b.ID) })
	return v
}

// view is the pod as it came, with the host that it has got since.
func (r *record) view() Pod {
	p := r.spec.pod
	p.UID, p.Namespace, p.Name, p.Owner, p.Labels = r.uid, r.set.namespace, r.name, r.ownerName(), r.set.labels
	p.Host, p.Nominated, p.Leaving, p.Gated = r.claim, r.nominated, r.leaving, r.gated
	return p
}

// world is what a State knows. Its maps are only looked up, never walked.
type world struct {
	opts Options
	want int
	logs *logTable
	hosts
	audience
	chooser   chooser
	desperate bool                      // candidates are those of last resort
	values    [2 * mostCandidates]int64 // of the candidates, while a part of their score is found

	topologies        map[string]*topology
	inOrderTopologies []*topology
	zones             *topology
	allEligible       []*eligible
	statics           map[digest][]*static
	allStatics        []*static
	roaming           []*static            // that may choose any host
	pinned            map[string][]*static // by ID or name of a host that they name
	allLikes          []*likes
	allRates          []*rates
	rules             int // rises when hosts or rules change
	specs             map[digest][]*spec
	specCount         int
	lastSpec          *spec // that a pod has asked for
	owners            map[string]*owner
	budgets           []*budget
	scarcity          scarcity

	pods    []record
	byUID   map[string]int32
	twins   map[string][]int32
	orphans map[string][]int32 // by host ID: pods whose host is not there
	dead    []int32            // records of dropped pods, still in some list
	spare   []int32
	queue   []int32 // that wait
	places  []queued
	sorted  bool
	refused []int32 // that are invalid
	others  []string

	ranks     ranks         // of placed pods
	reserved  []reservation // for nominated pods that wait, while a Plan is made
	doomed    []int32       // victims of this Plan
	seated    []int32       // pods in their place, while it preempts
	tried     []int32
	moves     int // of pods that run, in this Plan
	repairs   int // that this Plan may still try
	exchanges int // and these

	fresh  []int32 // bound by the Plan that is being made
	delta  int     // number of the Delta
	plan   int     // number of the Plan
	stamp  int     // rises with every change
	mood   int     // rises when a group begins or ceases to repel or pull
	relief int     // rises with every change that may make room
}

func newWorld(o Options) *world {
	w := &world{
		opts: o, want: o.candidates(), logs: newLogTable(), hosts: newHosts(), audience: newAudience(),
		topologies: map[string]*topology{}, statics: map[digest][]*static{}, pinned: map[string][]*static{}, specs: map[digest][]*spec{},
		owners: map[string]*owner{}, byUID: map[string]int32{}, twins: map[string][]int32{}, orphans: map[string][]int32{}, stamp: 1,
	}
	w.zones = w.topology("topology.kubernetes.io/zone")
	return w
}

func (w *world) apply(d *Delta) {
	w.delta++
	for _, uid := range d.GonePods {
		w.dropPod(uid)
	}
	for _, id := range d.GoneHosts {
		w.dropHost(id)
	}
	for _, id := range d.GoneBudgets {
		w.dropBudget(id)
	}
	for _, b := range d.Budgets {
		w.putBudget(b)
	}
	w.putHosts(d.Hosts)
	if len(w.pods) == 0 {
		w.pods, w.byUID, w.queue = make([]record, 0, len(d.Pods)), make(map[string]int32, len(d.Pods)), make([]int32, 0, len(d.Pods))
	}
	for i := range d.Pods {
		w.putPod(&d.Pods[i])
	}
}

// putHosts makes one bare host of those that share an ID: nobody can say which of them is meant.
func (w *world) putHosts(hs []Host) {
	ids := make([]string, len(hs))
	for i := range hs {
		ids[i] = hs[i].ID
	}
	double := twice(ids)
	for i := range hs {
		h := hs[i]
		if _, twin := slices.BinarySearch(double, h.ID); twin {
			h = Host{ID: h.ID, NotReady: "its ID is there twice"}
		}
		w.putHost(h)
	}
}

// littered tells that most of what is kept for specs, label sets and owners belongs to pods that are gone.
func (w *world) littered() bool {
	kept := w.specCount + len(w.allSets) + len(w.owners) + len(w.inOrder)
	return kept > 4096 && kept > 8*len(w.byUID)
}
