package gossip

import "time"

// Every bound of the mesh stands here, but for those of the store (store/bounds.go), of libp2p's resources (host.go) and of serf
// (serf.go), which are settings of theirs; and the patience of the judge and of redials, which is their algorithm (judge.go, redial.go).

// Of what strangers and members may send.
const (
	maxHello      = 16 << 10
	maxJoin       = 1 << 20
	maxTokenAddrs = 8
	maxTokenText  = 4096
	// maxFrame bounds one request or reply of Call, in bytes.
	maxFrame   = 4 << 20
	maxErrText = 4096
	maxGossip  = 96 << 10 // bytes of one message; the store's frames are at most 64 KiB
	maxPacket  = 64 << 10 // bytes of one of serf's; UDP carries no more
	// maxName bounds a host's name as DNS does, maxPlace its region and zone as Kubernetes does labels, in bytes.
	maxName     = 253
	maxPlace    = 63
	maxDialText = 300 // bytes of libp2p's account of why it reached nobody
)

// Of what runs at the same time or waits.
const (
	maxUshered = 8 // joins under way at the same time
	maxServed  = 2 // reconciliations served at the same time
	maxAsked   = 2 // and asked for
	// maxErrands bounds the peers that wait to be reconciled with; the random rounds reach whom it leaves out.
	maxErrands    = 1024
	maxRedials    = 16   // at the same time
	maxPending    = 12   // checks under way to one peer
	maxUnmet      = 1024 // of whom serf alone speaks
	maxIntroduced = 16   // of them dialed at the same time
	publishQueue  = 1024
	serfQueue     = 1024 // packets before serf, and its events before the judge
	evidenceQueue = 1024 // the rest before the judge
	behindQueue   = 64   // peers to reconcile with soon; what is lost is left to the random rounds
	foundQueue    = 64   // finds of mDNS; they are announced again
	relayQueue    = 256  // messages before gossipsub's validator, and to one peer
	heardQueue    = 64   // of what was merged and is thrown away
)

// Of what one author may gossip.
const (
	authorRecords      = 4000 // a second; one server alone makes fewer
	authorRecordsBurst = 40_000
	authorBytes        = 16 << 20 // a second
	authorBytesBurst   = 128 << 20
	maxAuthors         = 4096        // beyond, those that have been quiet are forgotten, which refills their buckets
	authorQuiet        = time.Minute // after which every bucket is full
)

// Of pace.
const (
	judgeEvery  = 100 * time.Millisecond
	redialTick  = 500 * time.Millisecond // between looks for whom to dial
	saveEvery   = time.Second            // known peers, where one changed
	repairEvery = 10 * time.Second       // reconciliations with a random peer, about
	sweepEvery  = time.Hour              // of old tokens
	lookEvery   = time.Second            // for who is out of earshot
	nudgeAfter  = 2                      // looks
	// patienceLeast is after how many looks a peer is hung up on, doubled by each time that it did not help, to patienceMost.
	patienceLeast = 5
	patienceMost  = 80
)

// Of patience.
const (
	helloTimeout     = 5 * time.Second
	relayTimeout     = 10 * time.Second          // for a message to be merged
	maxTTL           = 30 * 24 * time.Hour       // of a token
	caLifetime       = 10 * 365 * 24 * time.Hour // of the mesh's authority, whose certificates do not expire
	redeemSpan       = 10 * time.Minute          // how long the peer that used a token may ask again: an answer may get lost
	keepTokens       = 24 * time.Hour            // expired records are swept after this
	strangerSpan     = 15 * time.Second          // how long a connection may stay without admission: time for a join
	joinBudget       = 10 * time.Second          // for the token's addresses, and again for mDNS
	joinTimeout      = 15 * time.Second          // one handshake
	dialTimeout      = 5 * time.Second           // where the caller's context has no deadline
	callTimeout      = 30 * time.Second          // likewise
	serveTimeout     = 2 * time.Minute           // one request, its handling and its reply
	checkTimeout     = 4 * time.Second           // longer than any patience: a late answer is an answer
	checkIdle        = time.Minute               // how long a stream waits for the next check
	farewellTimeout  = 300 * time.Millisecond
	redialTimeout    = 3 * time.Second
	headStart        = 300 * time.Millisecond // of QUIC before TCP
	reconcileTimeout = 10 * time.Minute       // a whole store over a slow link; a frame that does not move for 60 s ends it
	retryWait        = time.Second            // about, before a reconciliation that failed is asked for again
	surveyWithin     = 2 * time.Second        // for the round trips to those from whom a joiner may take the store
	readyWithin      = 2 * time.Second
	learnWithin      = 30 * time.Second // likewise, of who has forgotten, or never knew, what the mesh holds
	// settleSpan bounds how long a regained member that does not reconcile keeps us from destructive decisions.
	settleSpan = 30 * time.Second
	// calmSpan passes after the last member was regained, even if all are reconciled: the two ends of a healed link notice
	// it seconds apart, and until both have, two servers may take themselves for the home of one object. What one of them
	// deletes as surplus the other would replace. It covers the slowest redial of a fresh loss and a few heartbeats.
	calmSpan = 5 * time.Second
	// maxOffset is how far this node's clock may be off its peers' median before it stops authoring records.
	maxOffset = 30 * time.Second
)
