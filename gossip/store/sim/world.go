package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// world is one history. All of its time is virtual.
type world struct {
	seed  uint64
	rnd   *rand.Rand
	plan  plan
	start time.Time
	now   time.Duration // since start
	queue queue
	seq   uint64
	ids   uint64

	nodes   []*node
	byName  map[string]*node
	links   links
	oracle  *oracle
	authors authors
	play    func(*world)
	chaos   bool // faults and clients are at work
	steps   int

	onShow func(n *node, now *store.Object) // nil: nobody measures
	trace  io.Writer                        // nil: none
	fault  *Fault                           // the first broken promise
}

// Fault is a broken promise.
type Fault struct {
	Seed uint64
	At   time.Duration
	What string
}

func (f *Fault) Error() string {
	return fmt.Sprintf("seed %d at %s: %s", f.Seed, f.At, f.What)
}

// Report is what a history was like.
type Report struct {
	Seed         uint64
	Nodes, Steps int
	Acked        int // writes that were acknowledged
	Virtual      time.Duration
	Converged    time.Duration // from quiet to equal roots
	Faults       map[string]int
	Followed     Followed
}

// Run plays the histories of a seed, one of chance, a scene, and with some an encore, and returns the first fault, or nil. A panic
// of a replica is a fault, too.
func Run(seed uint64, trace io.Writer) (Report, *Fault) {
	rep, fault := newWorld(seed, trace).run()
	for _, next := range []func(uint64, io.Writer) *world{newScene, newEncore} {
		if fault != nil {
			break
		}
		if w := next(seed, trace); w != nil {
			var more Report
			more, fault = w.run()
			rep.add(more)
		}
	}
	return rep, fault
}

func (w *world) run() (rep Report, fault *Fault) {
	defer func() {
		if p := recover(); p != nil && p != stop {
			w.fault = &Fault{w.seed, w.now, fmt.Sprintf("panic: %v", p)}
			w.tell("PANIC %v", p)
		}
		rep, fault = w.report(), w.fault
	}()
	w.play(w)
	return
}

// stop unwinds a history after its first fault.
var stop = new(int)

func (w *world) fail(format string, args ...any) {
	if w.fault == nil {
		w.fault = &Fault{w.seed, w.now, fmt.Sprintf(format, args...)}
		w.tell("FAULT %s", w.fault.What)
	}
	panic(stop)
}

func (w *world) tell(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%12s %s\n", w.now, fmt.Sprintf(format, args...))
	}
}

// happening is something that is due.
type happening struct {
	at  time.Duration
	seq uint64
	do  func()
}

func (h *happening) before(o *happening) bool {
	return h.at < o.at || h.at == o.at && h.seq < o.seq
}

// queue is a heap with the next happening at its root. (container/heap would box every one of them.)
type queue []happening

func (q *queue) push(h happening) {
	*q = append(*q, h)
	s := *q
	i := len(s) - 1
	for i > 0 && h.before(&s[(i-1)/2]) {
		s[i] = s[(i-1)/2]
		i = (i - 1) / 2
	}
	s[i] = h
}

func (q *queue) pop() happening {
	s := *q
	next, h := s[0], s[len(s)-1]
	s[len(s)-1] = happening{}
	s = s[:len(s)-1]
	*q = s
	i := 0
	for c := 1; c < len(s); c = 2*i + 1 {
		if c+1 < len(s) && s[c+1].before(&s[c]) {
			c++
		}
		if !s[c].before(&h) {
			break
		}
		s[i] = s[c]
		i = c
	}
	if len(s) > 0 {
		s[i] = h
	}
	return next
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	w.queue.push(happening{w.now + d, w.seq, do})
}

// until plays what is due up to then, or until ok.
func (w *world) until(t time.Duration, ok func() bool) bool {
	for len(w.queue) > 0 && w.queue[0].at <= t {
		if ok != nil && ok() {
			return true
		}
		h := w.queue.pop()
		w.now = h.at
		w.steps++
		h.do()
	}
	if ok != nil && ok() {
		return true
	}
	w.now = t
	return false
}

func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rnd.Int64N(int64(hi-lo)+1))
}

// chance is true in one of n cases.
func (w *world) chance(n int) bool { return w.rnd.IntN(n) == 0 }

func (w *world) clock() time.Time { return w.start.Add(w.now) }

func (w *world) id() uint64 { w.ids++; return w.ids }

func (w *world) any() *node { return w.nodes[w.rnd.IntN(len(w.nodes))] }

// other is any node but this one.
func (w *world) other(n *node) *node {
	i := w.rnd.IntN(len(w.nodes) - 1)
	if i >= n.i {
		i++
	}
	return w.nodes[i]
}

func newWorld(seed uint64, trace io.Writer) *world {
	return create(seed, 0x6f727068657573, (*world).draw, (*world).story, trace)
}

// create makes a world. Its stream tells its randomness from that of other worlds of the seed.
func create(seed, stream uint64, draw func(*world) plan, play func(*world), trace io.Writer) *world {
	w := &world{
		seed: seed, rnd: rand.New(rand.NewPCG(seed, stream)), start: time.UnixMilli(1_800_000_000_000),
		byName: map[string]*node{}, trace: trace, oracle: newOracle(), play: play, chaos: true,
	}
	w.plan = draw(w)
	w.links = newLinks(w.plan.nodes + 1)
	for i := range w.plan.nodes {
		n := &node{w: w, name: fmt.Sprintf("n%02d", i), i: i, member: true}
		n.clock.offset = w.between(-2*time.Second, 2*time.Second)
		n.clock.drift = w.rnd.Int64N(401) - 200
		w.nodes = append(w.nodes, n)
		w.byName[n.name] = n
	}
	w.authors = newAuthors(w)
	w.tell("seed %d: %+v", seed, w.plan)
	return w
}

func (w *world) report() Report {
	return Report{
		Seed: w.seed, Nodes: len(w.nodes), Steps: w.steps, Acked: w.oracle.ackedCount, Virtual: w.now, Converged: w.plan.converged,
		Faults: w.plan.happened, Followed: w.oracle.followed,
	}
}

// add takes a further history of the seed in.
func (r *Report) add(o Report) {
	r.Steps, r.Acked, r.Virtual, r.Converged = r.Steps+o.Steps, r.Acked+o.Acked, r.Virtual+o.Virtual, max(r.Converged, o.Converged)
	r.Followed.Add(o.Followed)
	for what, n := range o.Faults {
		r.Faults[what] += n
	}
}

// kindNames are what clients write: pods are forgotten soon, things late; claims and events have classes of their own.
const (
	pods   = "core/pods"
	things = "apps/things"
	events = "core/events"
)

func classOf(k store.Key) store.Class {
	if k.Kind == events {
		return store.Ephemeral
	}
	return store.Durable
}

func describe(o *store.Object) string {
	if o == nil {
		return "nothing"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %.8s gen %d", o.Bodies[store.Intent][:min(len(o.Bodies[store.Intent]), 24)], o.UID, o.Head.Generation)
	if o.Head.DeletionTime != 0 {
		fmt.Fprintf(&b, " deleting %d", o.Head.DeletionTime)
	}
	if len(o.Head.Removed) > 0 {
		fmt.Fprintf(&b, " removed %v", o.Head.Removed)
	}
	for _, s := range o.Others {
		fmt.Fprintf(&b, " | %s %d", s.Body[:min(len(s.Body), 24)], s.Time)
		if s.Delete {
			b.WriteString(" delete")
		}
	}
	return b.String()
}
