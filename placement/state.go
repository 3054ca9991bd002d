package placement

import (
	"cmp"
	"maps"
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
// for the same View. One goroutine at a time.
type State struct {
	options Options
	hosts   map[string]Host
	pods    map[string]Pod
	budgets map[string]Budget
}

// NewState knows nothing yet.
func NewState(o Options) *State {
	return &State{options: o, hosts: map[string]Host{}, pods: map[string]Pod{}, budgets: map[string]Budget{}}
}

// Apply takes in what changed, decides, and counts the Plan as carried out.
func (s *State) Apply(d Delta) Plan {
	for _, id := range d.GoneHosts {
		delete(s.hosts, id)
	}
	for _, uid := range d.GonePods {
		delete(s.pods, uid)
	}
	for _, id := range d.GoneBudgets {
		delete(s.budgets, id)
	}
	for _, h := range d.Hosts {
		s.hosts[h.ID] = h
	}
	for _, p := range d.Pods {
		s.pods[p.UID] = p
	}
	for _, b := range d.Budgets {
		s.budgets[b.ID] = b
	}
	plan := Place(s.View(), s.options)
	for _, b := range plan.Binds {
		p := s.pods[b.Pod]
		p.Host = b.Host
		s.pods[b.Pod] = p
	}
	return plan
}

// View is what the State knows, with the Plans so far carried out, sorted by ID and UID.
func (s *State) View() View {
	return View{
		Hosts:   slices.SortedFunc(maps.Values(s.hosts), func(a, b Host) int { return cmp.Compare(a.ID, b.ID) }),
		Pods:    slices.SortedFunc(maps.Values(s.pods), func(a, b Pod) int { return cmp.Compare(a.UID, b.UID) }),
		Budgets: slices.SortedFunc(maps.Values(s.budgets), func(a, b Budget) int { return cmp.Compare(a.ID, b.ID) }),
	}
}
