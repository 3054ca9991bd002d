package control

import (
	"time"

	"github.com/orpheus-mesh/orpheus/node/images"
)

// Status says how this server is, and of whatever is not well why and what to do.
type Status struct {
	Name, ID, Version string
	Address           string
	Since             time.Time
	Ready             bool
	Members           int
	Alive             int
	Records           int
	Root              string // fingerprint of the replica
	Conflicts         int
	RSS               int64 // bytes
	Problems          []Problem
}

// Problem is one thing that is not well.
type Problem struct {
	What, Why, Mend string
}

// Member is one line of `orpheus members`.
type Member struct {
	ID, Name, Address, Region, Zone, State string
	Since                                  time.Time
	Self                                   bool
}

// Conflict is one object with edits that wait for a person's word, or one that goes without what another one keeps: Why and Mend
// are set for the latter alone.
type Conflict struct {
	Kind, Namespace, Name string
	Executing             Edit
	Others                []Edit
	Why, Mend             string
}

// Edit is one person's concurrent change.
type Edit struct {
	Author string
	Time   time.Time
	Delete bool
	Body   string // JSON of the object, where it can be read
}

// Lost is one entry of lost-and-found.
type Lost struct {
	ID                    string
	Kind, Namespace, Name string
	What, Why             string
	Edit                  Edit
}

// Merged is what came of a backup that was restored.
type Merged struct {
	Node    string    // that made it
	Time    time.Time // when
	Records int       // in the backup
	News    int       // that the mesh did not have
	Lost    int       // entries in lost-and-found now
}

// TokenRequest asks for a join token.
type TokenRequest struct{ TTL time.Duration }

// KubeconfigRequest asks for a client certificate.
type KubeconfigRequest struct {
	User   string
	Groups []string
	Server string
}

// Image is one line of `orpheus image ls`.
type Image = images.Record

// failure is the body of every answer that is not 200.
type failure struct{ Error string }
