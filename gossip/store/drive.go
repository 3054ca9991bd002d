package store

import (
	"fmt"
	"slices"
	"time"
)

// What follows lets a simulator drive a replica in place of Store: with its own time, disk and wire, and one goroutine.

// Replica is a Store without its surroundings. It is for one goroutine.
type Replica struct{ replica }

// Input is one thing that happens to a replica.
type Input struct{ ev event }

// Change is one key of one bucket that a batch writes (FORMATS.md, Disk), or deletes where Value is nil.
type Change struct {
	Bucket, Key string
	Value       []byte
	Record      *Record // of the buckets of records
}

// Limits are those bounds of the core that a simulator cannot reach at their real size; zero values stay as they are.
type Limits struct {
	Early, Held, Waiting int
}

// NewReplica starts from what is on a disk: bucket, key, value. The changes must be on it before the first input. An error
// means that the disk is corrupt.
func NewReplica(cfg Config, disk map[string]map[string][]byte, now time.Time, l Limits) (*Replica, []Change, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	s, err := readBuckets(disk)
	if err != nil {
		return nil, nil, err
	}
	r := &Replica{}
	b := r.start(cfg, s, now)
	r.core.limits.tighten(l)
	return r, b.Changes(), nil
}

func readBuckets(disk map[string]map[string][]byte) (s *saved, err error) {
	s = &saved{horizon: map[string]Stamp{}}
	if v, ok := disk[string(bucketMeta)][string(metaMarks)]; ok {
		if s.marks, _, err = decodeMarks(v); err != nil {
			return nil, err
		}
	}
	_, s.forgot = disk[string(bucketMeta)][string(metaForgetful)]
	for k, v := range disk[string(bucketHorizon)] {
		if s.horizon[k], _, err = decodeHorizon([]byte(k), v); err != nil {
			return nil, err
		}
	}
	for k, v := range disk[string(bucketRecords)] {
		r, err := decodeStored([]byte(k), v)
		if err != nil {
			return nil, err
		}
		s.records = append(s.records, r)
	}
	slices.SortFunc(s.records, func(a, b *Record) int { return a.compare(b) })
	return s, nil
}

func (l *limits) tighten(o Limits) {
	for _, p := range []struct {
		mine  *int
		other int
	}{{&l.early, o.Early}, {&l.held, o.Held}, {&l.waiting, o.Waiting}} {
		if p.other > 0 {
			*p.mine = p.other
		}
	}
}

// Batch is what is to be on disk, whole or not at all, before Committed is called.
type Batch = batch

// Changes are the batch's, in order.
func (b *batch) Changes() []Change {
	out := make([]Change, 0, len(b.ops)+len(b.lose)+len(b.horizon)+1)
	for _, op := range b.ops {
		c := Change{Bucket: string(bucketRecords), Key: string(storedKey(op.rec)), Record: op.rec}
		if !op.del {
			c.Value = storedValue(op.rec)
		}
		out = append(out, c)
	}
	for _, r := range b.lose {
		out = append(out, Change{string(bucketLost), string(storedKey(r)), storedValue(r), r})
	}
	for _, h := range b.horizon {
		out = append(out, Change{Bucket: string(bucketHorizon), Key: h.kind, Value: h.encode(nil)})
	}
	forgot := Change{Bucket: string(bucketMeta), Key: string(metaForgetful)}
	if b.forgot {
		forgot.Value = sealed(nil)
	}
	return append(out, forgot, Change{Bucket: string(bucketMeta), Key: string(metaMarks), Value: b.marks.encode(nil)})
}

// Step takes one input in. With Begin and Committed it is one of the three moves of a replica; actions are valid until the next one.
func (r *Replica) Step(now time.Time, in Input) []Action { return r.step(now, in.ev) }

// Begin takes the gathered batch where none is under way; nil where there is nothing to write.
func (r *Replica) Begin() (*Batch, []Action) { return r.begin() }

// Committed says how the batch fared. again: try the same one once more; fatal: the process must end.
func (r *Replica) Committed(err error) (acts []Action, again bool, fatal error) {
	return r.committed(err)
}

// Behind tells that no input is wanted before the disk caught up.
func (r *Replica) Behind() bool { return r.behind() }

// Admit makes a write an input; its reply will have the ID.
func (r *Replica) Admit(id uint64, w Write) (Input, error) {
	ev, err := r.admit(&w)
	ev.id = id
	return Input{ev}, err
}

// Arrived reads a frame of gossip, as Store.Receive does.
func (r *Replica) Arrived(from string, frame []byte) (in Input, ok, behind bool, err error) {
	in.ev, ok, behind, err = r.arrived(from, frame)
	return in, ok, behind, err
}

// Proposal reads what another node asks this one to serialise; its reply's Verdict is the answer to carry back.
func (r *Replica) Proposal(id uint64, from string, frame []byte) (Input, error) {
	ev, err := r.proposal(from, frame)
	ev.id = id
	return Input{ev}, err
}

// Answered reads a home's answer, or err where there was none.
func (r *Replica) Answered(write uint64, reply []byte, err error) Input {
	return Input{r.answered(write, reply, err)}
}

// Tick comes once a second.
func (r *Replica) Tick() Input { return Input{event{tick: true}} }

// Verdict is the answer to a proposal.
func (r *Reply) Verdict() []byte { return encodeVerdict(r.verdict, r.current) }

// Session is one side of a reconciliation.
type Session struct {
	r *Replica
	s *session
}

// Session begins a reconciliation; the first side is the one that asks.
func (r *Replica) Session(first bool) *Session { return &Session{r, r.session(first)} }

// Next is the next frame to send, nil where the peer is to speak.
func (s *Session) Next() []byte { return s.s.next() }

// Over tells that both sides said all.
func (s *Session) Over() bool { return s.s.over }

// Hear takes a frame in. Where ok is set, the input must be stepped and replied to before the next frame.
func (s *Session) Hear(id uint64, frame []byte) (in Input, ok bool, err error) {
	recs, err := s.s.hear(frame)
	if err == nil {
		recs, err = s.r.verify(recs)
	}
	return Input{event{id: id, receive: recs}}, len(recs) > 0, err
}

// Conclude is the input at the end; ok is false where nothing was learned.
func (s *Session) Conclude() (in Input, ok bool) {
	m := s.s.meeting()
	return Input{event{met: m}}, m != nil
}

// Sizes are the lengths of a replica's queues and waiting rooms.
type Sizes struct {
	Records, Early, Held, Pending, Waiting, Entries, Gathered int
}

// Sizes counts them.
func (r *Replica) Sizes() Sizes {
	s := Sizes{
		Records: r.core.set.size(), Early: r.core.early.size(), Held: len(r.core.held.order), Pending: len(r.core.pending),
		Entries: r.core.entries.size(), Gathered: len(r.cur.ops) + len(r.cur.after),
	}
	for _, p := range r.core.pending { // writes wait for these alone
		if e := r.core.known(p.ev.write.Key); e != nil {
			s.Waiting = max(s.Waiting, len(e.waiting))
		}
	}
	return s
}

// Objects are all that a kind shows, sorted.
func (r *Replica) Objects(kind string) []*Object {
	objs, _ := list(r.view.kinds[kind], Selector{Kind: kind}, ListOptions{})
	return objs
}

// Memory is what it knows beside its records, for a trace.
func (r *Replica) Memory(now time.Time) string {
	var early string
	r.core.early.all(func(x *Record) bool {
		early += fmt.Sprintf("\n  early %v at %d %s part %d %s uid %.8s born %d", x.Dot, x.Stamp>>16, x.Key, x.Part, x.Op, x.UID, x.born()>>16)
		return true
	})
	return fmt.Sprintf("%+v, the oldest born %d, clock %d%s", *r.core.hello(), r.core.heldBack(now)>>16, r.core.clock.last>>16, early)
}

// Dump lists the durable records, for a trace.
func (r *Replica) Dump() []string {
	var out []string
	r.core.set.all(func(x *Record) bool {
		out = append(out, fmt.Sprintf("%x %v %s part %d %s human %v uid %.8s born %d head %+v raised %d/%d ctx %v %.40q",
			x.hash[:4], x.Dot, x.Key, x.Part, x.Op, x.Human, x.UID, x.born()>>16, x.head, x.raised, x.wrote, x.context, x.Body))
		return true
	})
	return out
}

// Seal signs a record as its author would and frames it, with a tail as a later version would append: for authors that are
// no replica.
func Seal(r Record, tail []byte, sign func([]byte) ([]byte, error)) ([]byte, error) {
	if err := r.seal(nil); err != nil {
		return nil, err
	}
	msg := append(r.msg[:len(r.msg):len(r.msg)], tail...)
	sig, err := sign(msg)
	if err != nil {
		return nil, err
	}
	again, err := decodeRecord(msg, sig)
	if err != nil {
		return nil, err
	}
	return encodeFrame([]*Record{again}), nil
}

// Unframe reads the records of a frame without verifying them; nil where it is none.
func Unframe(frame []byte) []*Record {
	recs, err := decodeFrame(frame)
	if err != nil {
		return nil
	}
	return recs
}

// Hash is the record's name.
func (r *Record) Hash() [32]byte { return r.hash }
