package placement

// Resources are amounts of what a host can run out of. CPU in thousandths of a core, Memory and Disk in bytes, Pods in
// pieces (every pod takes at least one); Extended by name ("nvidia.com/gpu"). Validate refuses negative amounts and
// those above 2^60. A request of 0 fits even on a host that is overcommitted.
type Resources struct {
	CPU, Memory, Disk, Pods int64
	Extended                []Amount // each name once
}

// Amount is a quantity of an extended resource.
type Amount struct {
	Name  string
	Value int64
}

// Label is a key with its value.
type Label struct{ Key, Value string }

// Effect says what a taint does.
type Effect uint8

const (
	NoSchedule Effect = iota
	PreferNoSchedule
	NoExecute
)

// Taint repels pods that do not tolerate it.
type Taint struct {
	Key, Value string
	Effect     Effect
}

// Toleration matches taints. Empty Key with Exists matches all; AnyEffect matches every effect.
type Toleration struct {
	Key, Value string
	Exists     bool // else Equal
	AnyEffect  bool
	Effect     Effect
}

// Operator of a Requirement.
type Operator uint8

const (
	In Operator = iota
	NotIn
	Exists
	DoesNotExist
	Gt
	Lt
)

// Requirement is one condition on labels.
type Requirement struct {
	Key    string
	Op     Operator
	Values []string
}

// Term is a conjunction of requirements; a list of Terms is a disjunction.
type Term struct {
	Labels []Requirement
	Fields []Requirement // metadata.name only
}

// WeightedTerm is a preference for hosts, Weight 1 to 100.
type WeightedTerm struct {
	Term
	Weight int64
}

// PodTerm selects pods in topology domains: those of Namespaces (none: the pod's own) whose labels meet all of Match,
// wherever their host has the same value for Topology.
type PodTerm struct {
	Topology      string
	Namespaces    []string
	AllNamespaces bool
	Match         []Requirement
	MatchNothing  bool  // a nil selector
	Weight        int64 // preferences only, 1 to 100
}

// Spread is one topology spread constraint (KEP-895).
type Spread struct {
	Topology   string
	MaxSkew    int64
	Hard       bool // DoNotSchedule, else ScheduleAnyway
	MinDomains int64
	Match      []Requirement

	MatchNothing   bool // a nil selector
	IgnoreAffinity bool // nodeAffinityPolicy Ignore: hosts that the pod cannot choose count too
	HonorTaints    bool // nodeTaintsPolicy Honor: hosts whose taints it does not tolerate do not count
}

// HostPort is a port that the pod takes on its host.
type HostPort struct {
	IP       string // "" or "0.0.0.0": all
	Protocol string
	Port     int32
}

// Pod is what placement needs to know of a pod.
type Pod struct {
	UID, Namespace, Name string
	Owner                string // pods of one owner are alike and are spread
	Labels               []Label
	Requests             Resources
	Priority             int32
	Selector             []Label // nodeSelector
	Required             []Term  // node affinity: any of; nil: no demand; empty: no host, as in Kubernetes a selector without terms
	Preferred            []WeightedTerm
	Affinity             []PodTerm
	AntiAffinity         []PodTerm
	PrefersNear          []PodTerm
	PrefersApart         []PodTerm
	Spread               []Spread
	Tolerations          []Toleration
	Ports                []HostPort
	Hosts                []string // hosts (IDs or names) where its volumes live; nil: anywhere; empty: nowhere
	Host                 string   // claimed host ID, "" when unplaced
	Nominated            string   // host ID that victims are leaving for this pod, "" when none
	NeverPreempts        bool     // preemptionPolicy Never
	Gated                bool     // has scheduling gates: is not decided on and not pending
	Leaving              bool     // being deleted: holds what it has, counts for no spread, is never placed
}

// Host is a server as the home sees it.
type Host struct {
	ID, Name    string
	Labels      []Label
	Taints      []Taint
	Cordoned    bool
	Allocatable Resources
	NotReady    string // why it takes no new pods; "" when it does
	Joined      bool   // is new: rebalancing may move pods to it
	LastResort  bool   // gets only pods that no other host can take as things are, for instance because it comes and goes
}

// Budget limits voluntary disruptions of the pods that it selects: preemption, repair and rebalancing together end at
// most Allowed of them in one Plan.
type Budget struct {
	ID, Namespace string // ID names it in a Delta
	Match         []Requirement
	MatchNothing  bool // a nil selector
	Allowed       int64
}

// View is everything that a decision depends on.
type View struct {
	Hosts   []Host
	Pods    []Pod // claimed ones and those to place
	Budgets []Budget
}

// Rebalance says how eagerly pods move to hosts that joined.
type Rebalance uint8

const (
	Off    Rebalance = iota // no pod moves because a host joined
	Gentle                  // one pod a Plan and newcomer
	Eager                   // as many as rendezvous would have given the newcomer, an eighth of them a Plan
)

// Options tune a decision; the zero value is the default.
type Options struct {
	Candidates int       // feasible hosts looked at per pod, by weighted rendezvous; 0: 8, at most 64
	Pack       bool      // fill hosts one after the other instead of spreading
	Preempt    bool      // pods of lower priority may be told to leave for one that fits nowhere
	Moves      int       // most running pods that one Plan moves to make room for such a pod; 0: none
	Rebalance  Rebalance // of pods that run, when hosts join
}
