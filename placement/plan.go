package placement

// Bind gives a pod its host, in the order of decision. Others are the next candidates in order, for when the host declines.
type Bind struct {
	Pod, Host string // UID, host ID
	Others    []string
}

// Reason counts hosts that refused a pod for one cause, in kube-scheduler's words ("Insufficient cpu"). A host that
// lacks several resources is counted once for each.
type Reason struct {
	Text  string
	Hosts int
}

// Pending is a pod that fits nowhere at the moment.
type Pending struct {
	Pod     string
	Hosts   int      // looked at
	Reasons []Reason // most hosts first, then by text
}

// Preemption asks pods of lower priority to leave a host for Pod, which stays pending until they are gone. No disruption
// budget is broken by it. All Preemptions of a Plan fit one another: once all victims are gone there is room for every Pod.
type Preemption struct {
	Pod, Host string
	Victims   []string // UIDs, those of least priority first; none where those of another Preemption leave room for Pod too
}

// Move takes a running pod to another host: For a pod that has no room otherwise (its UID), or to a host that joined ("").
type Move struct{ Pod, From, To, For string }

// Plan is the answer. Carrying it out means: Preemptions first, then Moves and Binds in their order.
type Plan struct {
	Binds       []Bind
	Pending     []Pending // by UID of what waits, in the order of decision
	Preemptions []Preemption
	Moves       []Move
}
