package store

import "time"

// Every bound of the store stands here: what a peer, a writer or a reader can make this process hold, and for how long.
// What goes over the wire may be as large as the first group says and no larger, so a change of one of these is a change of
// format (FORMATS.md).

// MaxBody is the greatest size of one body in bytes.
const MaxBody = 1 << 20

// Of the formats.
const (
	maxActor    = 128               // bytes of a peer ID
	maxField    = 253               // bytes of a kind, namespace, name or finalizer
	maxContext  = 4096              // actors in one causal context
	maxRemoved  = 256               // finalizers taken off one object
	maxSig      = 512               // bytes of a signature
	maxRecord   = MaxBody + 512<<10 // a body, and a context and a head at their greatest
	maxInline   = 64 << 10          // bytes of a frame in gossip; what is larger is announced and pulled
	maxPerFrame = 4096              // records in a frame
	maxFrame    = 4 << 20           // bytes of a frame in a stream
	maxCount    = 1 << 40           // of the counts of a record; no sum of them overflows
	maxTold     = 1 << 30           // records that a fingerprint may be of
	maxHorizons = 4096              // kinds whose horizon a peer may tell
	maxSections = 16                // of a hello
	maxSection  = 1 << 20           // bytes of one

	maxAttached    = 1 << 20 // bytes of one attachment of a snapshot
	maxAttachments = 64
	maxOverflow    = 4096 // pages of a damaged file that one of its own says it goes over; a greater one is not believed
)

// Of a reconciliation. A sender waits for nothing but the transport, a receiver has one frame in hand and reads the next
// once that one is on disk; so the credit of a stream is its transport's window and one frame.
const (
	turnRanges  = 2048 // ranges spoken of in one turn; what is left over is said again in the next
	turnHashes  = 32_768
	maxSpans    = 8 * turnRanges
	maxTurn     = 4 << 20 // bytes
	maxTurns    = 1000
	sendRecords = 256 // records in a frame
	sendBytes   = 256 << 10
	turnTimeout = 60 * time.Second // for one frame
)

// Of the core's queues and waiting rooms.
const (
	maxBacklog   = 1024           // events before the core
	maxBatch     = 256            // records in a transaction after which the core waits for the disk
	maxWaiting   = 1024           // writes queued behind a proposal for the same key
	maxTries     = 3              // of a creation whose tombstones the home had to teach us
	maxDoubt     = 16             // writes of one object whose fate at a home is unknown
	maxRelied    = 64             // tombstones that a proposal brings along
	maxHeld      = 16_384         // statuses and observations whose intent has not come, or died
	maxHeldBytes = 64 << 20       // of these
	maxEarly     = 16_384         // records from the future
	maxCurrent   = 3 << 20        // bytes of records in the answer to a refused proposal
	maxLost      = 10_000         // records in lost-and-found
	maxSkew      = time.Minute    // how far ahead of our wall clock a record may be and still be merged
	maxLead      = 24 * time.Hour // how far ahead of the wall clock our own stamps may be and still be waited for
)

// Of readers.
const (
	maxLog      = 50_000          // events kept for List at a revision and for Subscribe from one
	maxLogBytes = 64 << 20        // of bodies that only these events still hold
	maxLogAge   = 5 * time.Minute // after which they go; etcd, as Kubernetes runs it, forgets as fast
	minLog      = 1000            // events kept whatever their age: in a quiet mesh a watch that was broken off goes on
	maxBuried   = 100_000         // UIDs remembered after their tombstone was purged
	maxQueued   = 20_000          // events that a subscriber may lag behind
)

// Of patience.
const (
	proposeTimeout = 2 * time.Second // for a home's answer
	receiveTimeout = 5 * time.Second // for room before the core; what gets none is left to reconciliation
	openTimeout    = 2 * time.Second // for another process to let go of the file
	retryDisk      = time.Second     // between attempts to write to a full disk
	tickEvery      = time.Second
	sweepEvery     = 10 * time.Minute // between looks for tombstones to purge
)
