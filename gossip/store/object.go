package store

// Key names one object. Kind is opaque to the store ("apps/deployments", "core/pods", "mesh/cards"); Namespace is empty
// for what belongs to the whole mesh. Fields hold at most 253 bytes each and no NUL or '/' in Namespace and Name, except
// that Kind contains one '/'.
type Key struct {
	Kind, Namespace, Name string
}

// Part is one of the three registers of an object.
type Part uint8

const (
	Intent      Part = iota // what people and controllers ask for; siblings and tombstones
	Status                  // what the object's home writes about it; newest wins
	Observation             // what the one node that it is about writes; newest wins
	Parts                   // how many there are
)

// Class says how objects of a kind live. It is chosen per kind by Config.Class.
type Class uint8

const (
	Durable   Class = iota // replicated, fsynced, reconciled: the zero value, for all that matters
	Ephemeral              // replicated by gossip, memory only, capped, expires without a tombstone (events)
	Local                  // memory of this process only, never replicated (derived objects: endpoint slices, leases)
)

// Revision is a position in this process's own sequence of visible changes. It rises strictly, also across restarts, and
// means nothing to another node.
type Revision uint64

// Object is the merged view of one key: what the API shows. It is immutable and shared; whoever gets one must not modify
// it, nor the slices in it.
type Object struct {
	Key
	UID     string        // deterministic, in UUID form; the same on every node
	Created Revision      // when the object became visible here
	Rev     Revision      // when any part of it last changed here
	Bodies  [Parts][]byte // opaque; nil where never written
	Human   bool          // whether the executing intent was written by a person
	Author  string        // peer ID of the executing intent's author
	Root    Key           // the object whose home this one shares; itself where it has no owner
	Head    Head          // merged over all siblings
	Others  []Sibling     // concurrent human edits that do not execute, in a stable order
	version []Dot         // what Write compares: the records that this view was merged from
}

// Head holds the few fields of an intent that are sticky under merge, so that the store can keep them so without
// understanding the body.
type Head struct {
	DeletionTime  int64    // seconds since 1970; 0: not being deleted. Once set it stays, the earliest wins
	DeletionGrace int64    // seconds; the smallest wins
	Generation    int64    // never falls; rises on every merge of different bodies
	Removed       []string // finalizers taken off since the object was created, sorted; union under merge
}

// Sibling is a person's edit that lost against a concurrent one and waits for a person's word.
type Sibling struct {
	Author string
	Time   int64 // milliseconds since 1970, by the author's hybrid clock
	Delete bool
	Body   []byte
}
