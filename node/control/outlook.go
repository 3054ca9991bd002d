package control

// Explanation says where a pod is or would go, and why.
type Explanation struct {
	Namespace  string      `json:"namespace"`
	Pod        string      `json:"pod"`
	Node       string      `json:"node,omitempty"`  // that it has, or would get now; empty when it fits nowhere
	Bound      bool        `json:"bound"`           // it has it; the rest is judged as if it had not
	Waits      string      `json:"waits,omitempty"` // why it is not decided on, where it is not
	Home       Home        `json:"home"`
	Nodes      int         `json:"nodes"`
	Fits       int         `json:"fits"` // nodes that could take it; those looked at closely are candidates
	Candidates []Candidate `json:"candidates,omitempty"`
	Refusals   []Refusal   `json:"refusals,omitempty"`
	Message    string      `json:"message,omitempty"` // in kube-scheduler's words, where it fits nowhere
	Remedies   []Remedy    `json:"remedies,omitempty"`
	Room       *Room       `json:"room,omitempty"` // where it fits nowhere and preemption would help
	Notes      []string    `json:"notes,omitempty"`
}

// Room is what preemption would do: the pods that would leave a node for a pod of such a priority.
type Room struct {
	Node     string   `json:"node"`
	Priority int32    `json:"priority"`
	Enough   bool     `json:"enough"` // it has that priority, and may preempt
	Leave    []string `json:"leave"`  // namespace/name
}

// Home is the server that decides for a pod, and why that one.
type Home struct {
	Server string `json:"server"`
	Root   string `json:"root"`  // the object that homes go by: "apps/deployments shop/web"
	Alive  int    `json:"alive"` // servers in sight

	Next []string `json:"next,omitempty"` // who decides when the first is lost, and so on; three at most
}

// Candidate is a node that could take the pod, the best first.
type Candidate struct {
	Node  string `json:"node"`
	Score int64  `json:"score"` // sum of the parts
	Parts []Part `json:"parts,omitempty"`
	Last  bool   `json:"last,omitempty"` // it comes and goes: gets the pod only when no other node can take it
}

// Part is one part of a score.
type Part struct {
	Name  string `json:"name"`
	Score int64  `json:"score"`
}

// Refusal is why a node cannot take the pod, in kube-scheduler's words.
type Refusal struct {
	Node    string   `json:"node"`
	Reasons []string `json:"reasons"`
}

// Remedy is what would let the pod onto one node: all of it together.
type Remedy struct {
	Node    string   `json:"node"`
	Changes []string `json:"changes"`
}

// ForecastRequest asks what would become of manifests, YAML or JSON, if they were applied.
type ForecastRequest struct {
	Namespace string `json:"namespace"` // of objects that name none
	Manifests []byte `json:"manifests"`
}

// Forecast is where the pods of manifests would go.
type Forecast struct {
	Fits      bool               `json:"fits"` // every pod would get a node
	Workloads []WorkloadForecast `json:"workloads"`
	Preempted []PodMove          `json:"preempted,omitempty"` // running pods that would be told to leave
	Moved     []PodMove          `json:"moved,omitempty"`     // running pods that would go elsewhere
	Notes     []string           `json:"notes,omitempty"`
}

// WorkloadForecast is what would become of one object's pods.
type WorkloadForecast struct {
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Refused   string        `json:"refused,omitempty"` // why its pods would not even be made
	Pods      []PodForecast `json:"pods"`
}

// Fate of a pod in a forecast.
type Fate string

// A pod stays as it is, goes away, comes (on Node), comes as soon as others have left, comes but is not decided on, or fits nowhere.
const (
	Stays    Fate = "stays"
	Goes     Fate = "goes"
	Comes    Fate = "comes"
	Preempts Fate = "preempts"
	Gated    Fate = "gated"
	Misfit   Fate = "misfit"
)

// PodForecast is one pod. New pods of a Deployment, ReplicaSet or Job have no name yet and are numbered.
type PodForecast struct {
	Name     string   `json:"name"`
	Fate     Fate     `json:"fate"`
	Node     string   `json:"node,omitempty"`
	Message  string   `json:"message,omitempty"`
	Remedies []Remedy `json:"remedies,omitempty"`
}

// PodMove is a running pod that leaves its node.
type PodMove struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	From      string `json:"from"`
	To        string `json:"to,omitempty"`
	For       string `json:"for,omitempty"` // the pod that it makes room for
}
