package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config says who this replica is and lends it what a replica needs of the world. The mesh fills the functions; none of
// them may call back into the Store from within Class, Home, Members, Fit or TombstoneTTL, which run inside the core.
type Config struct {
	Dir  string // holds store.db; created with mode 0700 where it is missing
	Self string // peer ID: the actor of all that is authored here, at most 128 bytes

	// Class tells how an object lives. It must answer the same on every node, for ever. nil: all are Durable.
	Class func(Key) Class

	// Sign signs an encoded record with this node's identity key; nil leaves signatures empty.
	Sign func(msg []byte) ([]byte, error)
	// Verify checks a record of another author; nil refuses whatever others send.
	Verify func(actor string, msg, sig []byte) error

	// Home names the peer that serialises the writes below root; "" or Self means here. nil: always here.
	Home func(root Key) string
	// Propose carries a frame to HandlePropose at the home and its answer back. It must respect ctx (2 s). nil: never forward.
	Propose func(ctx context.Context, home string, frame []byte) ([]byte, error)
	// Publish hands a frame (at most 64 KiB) to gossip after its records were fsynced here. It must not block for long and
	// may lose the frame: reconciliation repairs. It must not keep the slice's owner waiting; the slice is the callee's.
	Publish func(frame []byte)
	// Behind says that the peer announced a record too large to be gossiped: reconcile with it soon. It must not block.
	Behind func(peer string)

	// Forgetful says that the disk is an old copy, or that of a new member of an old mesh. Until a peer told what is missing, also
	// after restarts, the name of a new object gets a UID that no other node would give it: one that was deleted may be among what
	// was forgotten.
	Forgetful bool

	// Allow tells whether an author may bring so many more records and bytes by gossip now. nil: as many as it likes.
	Allow func(author string, records, bytes int) bool

	// TombstoneTTL is the least age of a tombstone before it may be purged. nil: 30 days, 1 h for core/pods.
	TombstoneTTL func(kind string) time.Duration
	// Members are all peers that may hold or miss records, Self among them: whoever was neither evicted nor said goodbye. A
	// tombstone is purged once all of them hold it. nil or none: no tombstone is ever purged.
	Members func() []string

	EphemeralTTL time.Duration // 0: 1 h
	EphemeralMax int           // objects; 0: 10,000; the oldest go first

	// Fit returns why this node must not author records at the moment (its clock is off), or nil.
	Fit func() error

	Now func() time.Time // the wall clock; nil: time.Now
	Log *slog.Logger     // nil: discarded
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Dir == "":
		return c, errors.New("store: Config.Dir is empty")
	case c.Self == "" || len(c.Self) > maxActor:
		return c, fmt.Errorf("store: Config.Self must have 1 to %d bytes, has %d", maxActor, len(c.Self))
	}
	if c.Class == nil {
		c.Class = func(Key) Class { return Durable }
	}
	if c.TombstoneTTL == nil {
		c.TombstoneTTL = defaultTombstoneTTL
	}
	if c.EphemeralTTL <= 0 {
		c.EphemeralTTL = time.Hour
	}
	if c.EphemeralMax <= 0 {
		c.EphemeralMax = 10_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func defaultTombstoneTTL(kind string) time.Duration {
	if kind == "core/pods" {
		return time.Hour
	}
	return 30 * 24 * time.Hour
}
