package placement

// Explanation says where one pod is or would go, and why; pure data, for people and programs.
type Explanation struct {
	Pod        string      // UID
	Host       string      // that it has, or would get now; "" when it fits nowhere
	Claimed    bool        // it has it already; Candidates and Refusals are judged as if it had not
	Hosts      int         // looked at
	Candidates []Candidate // hosts that were scored, best first
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
