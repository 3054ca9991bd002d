package store

import "time"

// event is what may happen to the core. Exactly one field besides id is set.
type event struct {
	id       uint64 // whom to answer; 0: nobody
	write    *Write
	base     []Dot     // of write: the version of its Base
	proposed *proposed // the home's answer, or that there was none
	judge    []*Record // a proposal from another node, verified
	receive  []*Record // records from gossip or reconciliation, verified
	relied   []*Record // of judge: tombstones on which its author relies
	met      *meeting  // a complete reconciliation with a peer
	sift     []*Record // lost records: which of them would still change something?
	drop     []*Record // of lost-and-found; the driver's alone
	tick     bool
}

type proposed struct {
	write   uint64 // id of the write
	verdict verdict
	current []*Record // what the home has instead
	err     error     // out of reach
}

type horizonOf struct {
	kind string
	at   Stamp
}

// effect is what the core wants done. The driver keeps the order of effects, except that propose may run at once; if
// a step persists anything, its other effects wait until that is on disk.
type effect struct {
	persist *Record   // write to disk
	forget  *Record   // delete from disk
	lose    *Record   // write to lost-and-found
	show    *shown    // change the view
	answer  *answer   // tell the one who waits for event.id
	publish []*Record // hand to gossip
	propose *proposal // ask the home
	horizon *horizonOf
	vouched bool // the marks must be on disk, then the hello is another one
	learned bool // the hello is another one
}

type shown struct {
	key    Key
	row    *row  // nil: gone
	dead   []UID // lives that ended
	back   []UID // lives that a person's edit revived
	purged []UID // lives whose tombstone was purged
	only   bool  // lives only: row is not looked at
}

type answer struct {
	id      uint64
	obj     *Object // nil: whatever the view shows
	wrote   *Object // of a Put: its outcome, in case that a delete is there already when it is answered
	key     Key
	err     error
	verdict verdict
	current []*Record
}

type proposal struct {
	write uint64
	home  string
	recs  []*Record
	dead  []*Record // tombstones that the author knew
}

// verdict is a home's answer to a proposal.
type verdict byte

const (
	accepted verdict = iota
	conflict
	exists
	gone
)

func (v verdict) err() error {
	return [...]error{nil, ErrConflict, ErrExists, ErrGone}[v]
}

// core is the replicated store as a state machine: no clock, no disk, no network, no goroutine, no visible map order. The
// same events at the same times give the same effects.
type core struct {
	cfg     *Config
	self    string
	clock   hybrid
	counter uint64         // of the last dot issued
	entries *node[*entry]  // by key; a map takes six times as much
	set     *node[*Record] // all durable records that count
	passing *node[*Record] // records of Ephemeral kinds
	early   *node[*Record] // records from the future
	held    holding        // statuses and observations whose intent has not come, or died
	horizon map[string]Stamp
	heard   map[string]Stamp // by actor (stability.go)
	holds   map[string]Stamp // by member
	pending map[uint64]*pendingWrite
	swept   time.Time
	limits  limits
	// forgetful: this disk was lost, or is an old copy, and no peer has told yet what was forgotten.
	forgetful bool
	loading   map[Key]*entry // while it comes from disk: what is kept is in the set already; nil otherwise
	out       []effect
	acted     map[Key]bool // entries to show at the end of the step; ordered by touched
	touched   []Key
}

// limits are the core's bounds; a simulator has narrower ones.
type limits struct{ early, held, waiting int }

func newCore(cfg *Config) *core {
	return &core{
		cfg: cfg, self: cfg.Self,
		horizon: map[string]Stamp{}, heard: map[string]Stamp{}, holds: map[string]Stamp{},
		pending: map[uint64]*pendingWrite{}, acted: map[Key]bool{}, held: newHolding(),
		limits: limits{early: maxEarly, held: maxHeld, waiting: maxWaiting},
	}
}

// Step advances the core. The returned slice is valid until the next call.
func (c *core) Step(now time.Time, ev event) []effect {
	c.out = c.out[:0]
	switch {
	case ev.write != nil:
		c.write(now, ev)
	case ev.proposed != nil:
		c.settled(now, ev.proposed)
	case ev.judge != nil:
		c.judge(now, ev)
	case ev.receive != nil:
		c.receive(now, ev)
	case ev.met != nil:
		c.meet(now, ev.met)
	case ev.sift != nil:
		c.emit(effect{answer: &answer{id: ev.id, current: c.sift(ev.sift)}})
	case ev.tick:
		c.tick(now)
	}
	return c.out
}

func (c *core) emit(e effect) { c.out = append(c.out, e) }

// life finds a life by its key and UID: an author who makes a UID up may give it to two keys.
func (c *core) life(k Key, u UID) *life {
	if e := c.known(k); e != nil {
		return e.life(u)
	}
	return nil
}

// known is what there is of a key, or nil.
func (c *core) known(k Key) *entry {
	if c.loading != nil {
		return c.loading[k]
	}
	e, _ := c.entries.get(&entry{key: k})
	return e
}

func (c *core) entry(k Key) *entry {
	e := c.known(k)
	if e == nil {
		e = &entry{key: k}
		if c.loading != nil {
			c.loading[k] = e
		} else {
			c.entries = c.entries.with(e)
		}
	}
	return e
}

// touch marks a key whose view has to be computed anew at the next reveal.
func (c *core) touch(k Key) {
	if !c.acted[k] {
		c.acted[k] = true
		c.touched = append(c.touched, k)
	}
}

// reveal shows every touched key once and drops entries that hold nothing any more.
func (c *core) reveal() {
	for _, k := range c.touched {
		e := c.known(k)
		if e == nil {
			c.emit(effect{show: &shown{key: k}})
			continue
		}
		c.emit(effect{show: &shown{key: k, row: e.row()}})
		c.tidy(e)
	}
	clear(c.acted)
	c.touched = c.touched[:0]
}

func (c *core) tidy(e *entry) {
	if len(e.lives) == 0 && !e.busy && len(e.waiting) == 0 {
		c.entries = c.entries.without(e)
	}
}
