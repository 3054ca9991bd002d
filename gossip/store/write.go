package store

import "errors"

// Op is what a Write does to its part.
type Op uint8

const (
	Put    Op = iota
	Delete    // Intent only: leaves a tombstone and takes the other parts along
)

// Write asks for one change. The node that calls Write authors the record; the home of Root serialises it: it is accepted
// if and only if its causal context covers every live version that the home knows for the key.
type Write struct {
	Key
	Part  Part
	Op    Op
	Body  []byte
	Base  *Object // the view that the writer read; nil to create
	Human bool    // a person asked for it, not a controller
	// Claim says that the object claims what its name says, an address or a port, for what its body says. Of concurrent claims
	// the older one executes everywhere, and a newer one is shown as a sibling until its owner or the holder writes; releasing
	// (deleting) the newer one leaves the older one as it is. Claims are no persons' edits.
	Claim bool
	Head  Head // Intent only
	Root  Key  // Intent only, on creation; the zero Key means the object itself
	// Generated says that the name of what is created has a random suffix: nobody else can be creating it, so no home need be asked.
	Generated bool
}

// Errors by which callers decide. They are wrapped with what was attempted and on what.
var (
	// ErrConflict: somebody else's write came first; reread and retry. Where the home went out of reach while it was asked, a
	// machine's change may stand beside that write elsewhere, until this node writes the object again.
	ErrConflict = errors.New("the object changed since it was read")
	// ErrExists: a create found a live object.
	ErrExists = errors.New("the object exists")
	// ErrGone: an update or delete found no live object of that UID.
	ErrGone = errors.New("the object is gone")
	// ErrTooLarge: the body is over MaxBody.
	ErrTooLarge = errors.New("the object is larger than 1 MiB")
	// ErrReadOnly: the disk is full or failing, or the clock is off; the text says which and how to mend it.
	ErrReadOnly = errors.New("this node takes no writes at the moment")
	// ErrCompacted: the revision is older than the log of changes kept, or was not issued by this process: relist.
	ErrCompacted = errors.New("revision too old")
	// ErrFuture: the revision is greater than any issued: relist.
	ErrFuture = errors.New("revision from the future")
)
