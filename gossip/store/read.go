package store

// Selector picks objects of one kind; Namespace and Name narrow it where they are set.
type Selector struct {
	Kind, Namespace, Name string
}

// ListOptions page and date a List.
type ListOptions struct {
	After string   // "namespace/name" (or "name") of the last object of the page before; "" for the first page
	Limit int      // 0: all
	At    Revision // 0: now; else the state as it was then, or ErrCompacted or ErrFuture
}

// Event is one visible change. New is nil when the object went, Old when it came; with both, any part changed, or only its
// revision (Touch).
type Event struct {
	Rev      Revision
	Old, New *Object
}
