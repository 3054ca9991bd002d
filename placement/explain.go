package placement

import (
	"cmp"
	"slices"
)

// Explanation says where one pod is or would go, and why; pure data, for people and programs.
type Explanation struct {
	Pod        string      // UID
	Known      bool        // the View has it; else all the rest is empty
	Host       string      // that it has, or would get now; "" when it fits nowhere
	Claimed    bool        // it has it already; Candidates and Refusals are judged as if it had not
	Waits      string      // why it is not decided on: gates, deletion, faults in it; "" when it is
	Hosts      int         // looked at
	Candidates []Candidate // hosts that were scored, best first, and those of last resort behind all others
	Fits       int         // hosts that could take it, scored or not
	Refusals   []Refusal   // the others, by ID
	Pending    Pending     // the refusals counted, as in a Plan; empty when it fits
	Remedies   []Remedy    // what would have to change, the least change first; none when it fits. At most 16
}

// Candidate is a host that could take the pod.
type Candidate struct {
	Host     string
	Distance uint64 // by weighted rendezvous and price; nearest first among equal scores
	Score    int64  // sum of Parts
	Parts    []Part
	Last     bool // it is a last resort: gets the pod only when no other host can take it
}

// Part is one part of a score, weight included.
type Part struct {
	Name  string // "load", "node affinity", "taints", "spread", "pod affinity", "other hosts", "other zones"
	Score int64
}

// Refusal is why a host cannot take the pod: the first cause in kube-scheduler's order, or every resource that it lacks.
type Refusal struct {
	Host    string
	Reasons []string
}

// Remedy is what would let the pod onto one host: all Changes together, and nothing else.
type Remedy struct {
	Host    string
	Changes []Change
}

// Change is one thing that would have to be otherwise.
type Change struct {
	Kind   ChangeKind
	What   string // resource, taint, reason …; see ChangeKind
	Amount int64  // that is missing, of Resource
}

// ChangeKind says what a Change changes.
type ChangeKind uint8

const (
	Ready       ChangeKind = iota // the host becomes ready; What: why it is not
	Uncordon                      // the host is cordoned
	Tolerate                      // the pod does not tolerate the taint What ("key=value:NoSchedule")
	Affinity                      // the host does not match the pod's node selector or affinity
	Port                          // the host port What ("TCP 80") is taken
	Resource                      // Amount of the resource What is missing ("cpu" in thousandths of a core)
	Volume                        // the pod's volumes are elsewhere
	SpreadEven                    // the spread over What would become too uneven
	SpreadLabel                   // the host lacks the label What that a spread needs
	Company                       // no pod that it must be near to is in the host's What
	Apart                         // a pod that it must be apart from is in the host's What
	KeptApart                     // a pod that must be apart from it is in the host's What
)

func (k ChangeKind) String() string {
	return [...]string{"ready", "uncordon", "tolerate", "node affinity", "host port", "resource", "volume", "even spread", "spread label",
		"pod affinity", "pod anti-affinity", "anti-affinity of others"}[k]
}

const mostRemedies = 16

// Explain answers for one pod alone, by its UID, as if all others that wait were not there. The View is only read.
func Explain(v View, uid string, o Options) Explanation {
	w := newWorld(o)
	w.apply(&Delta{Hosts: v.Hosts, Pods: v.Pods, Budgets: v.Budgets})
	w.tidy()
	e := Explanation{Pod: uid}
	i, known := w.byUID[uid]
	if !known {
		return e
	}
	e.Known, e.Hosts = true, w.present
	r := &w.pods[i]
	switch {
	case r.invalid != "":
		e.Waits = r.invalid
	case r.leaving:
		e.Waits = "it is being deleted"
	case r.gated:
		e.Waits = "it has scheduling gates"
	}
	e.Host, e.Claimed = r.claim, r.claim != ""
	if r.host >= 0 {
		w.unsettle(i)
	}
	if r.spec.static != nil {
		w.weigh(&e, r)
	}
	return e
}

// weigh looks at every host for a pod that is on none.
func (w *world) weigh(e *Explanation, r *record) {
	s := w.shapeOf(r)
	for h := range w.id {
		why := w.refuses(s, int32(h))
		switch why {
		case nobody:
		case fine:
			e.Fits++
		default:
			e.Refusals = append(e.Refusals, w.refusal(s, int32(h), why))
			e.Remedies = append(e.Remedies, w.remedy(s, int32(h)))
		}
	}
	slices.SortFunc(e.Refusals, func(a, b Refusal) int { return cmp.Compare(a.Host, b.Host) })
	if e.Fits == 0 {
		e.Pending = w.explain(s)
		e.Pending.Pod = r.uid
		slices.SortFunc(e.Remedies, compareRemedies)
		e.Remedies = slices.Clip(e.Remedies[:min(len(e.Remedies), mostRemedies)])
		return
	}
	e.Remedies = nil
	e.Candidates = w.scored(s, r.owner, w.candidates(s, r.hash))
	if w.resorts > 0 {
		e.Candidates = append(e.Candidates, w.scored(s, r.owner, w.lastCandidates(s, r.hash))...)
	}
	if !e.Claimed && e.Waits == "" {
		e.Host = e.Candidates[0].Host
	}
}

// scored ranks candidates, and tells their score part by part.
func (w *world) scored(s *shape, o *owner, cs []candidate) []Candidate {
	if len(cs) == 0 {
		return nil
	}
	w.rank(s, o, cs)
	out := make([]Candidate, len(cs))
	for i, c := range cs {
		out[i] = Candidate{Host: w.id[c.host], Distance: c.distance, Score: c.score, Last: w.last[c.host]}
	}
	for part := range parts {
		var each [2 * mostCandidates]int64
		w.scorePart(part, s, o, slices.Clone(cs), &each)
		for i := range out {
			if each[i] != 0 {
				out[i].Parts = append(out[i].Parts, Part{partNames[part], each[i]})
			}
		}
	}
	return out
}

func (w *world) refusal(s *shape, h int32, why refusal) Refusal {
	r := Refusal{Host: w.id[h]}
	switch why {
	case notReady:
		r.Reasons = []string{reasonNotReady + w.barred[h]}
	case lacking:
		w.lacks(s.spec, h, func(resource string, _ int64) { r.Reasons = append(r.Reasons, lack(resource)) })
	default:
		r.Reasons = []string{texts[why]}
	}
	return r
}
