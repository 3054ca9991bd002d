package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world drives several cores by one seeded random source: virtual time, disks that commit late, a network that loses,
// delays, repeats and splits, nodes that crash between a step and its commit. The same seed replays the same history.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Time
	names []string
	nodes map[string]*simNode
	side  map[string]int // whoever is on one side hears one another
	post  []letter
	ids   uint64
	acked map[string]ack // body -> an acknowledged person's put
	used  map[Dot]hash
	truth truth // what every record answers for, kept apart from its own words
}

type ack struct{ rec *Record }

type simNode struct {
	name    string
	core    *core
	view    *view
	skew    time.Duration
	disk    map[hash]*Record
	marks   marks
	batch   []effect
	answers map[uint64]func(answer)
	down    bool
}

// letter is one message under way.
type letter struct {
	from, to string
	recs     []*Record // gossip
	propose  *proposal
	verdict  *proposed
}

func newWorld(t *testing.T, seed uint64, n int) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), now: time.UnixMilli(1_700_000_000_000),
		nodes: map[string]*simNode{}, side: map[string]int{}, acked: map[string]ack{}, used: map[Dot]hash{}, truth: truth{},
	}
	for i := range n {
		name := string(rune('a' + i))
		w.names = append(w.names, name)
		w.nodes[name] = &simNode{name: name, disk: map[hash]*Record{}, skew: time.Duration(w.rnd.IntN(4000)-2000) * time.Millisecond}
		w.boot(w.nodes[name])
	}
	return w
}

// boot starts a node from its disk.
func (w *world) boot(n *simNode) {
	cfg, err := Config{Dir: "-", Self: n.name, Class: classes,
		Home:    func(root Key) string { return w.names[int(root.Name[0])%len(w.names)] },
		Propose: noPropose,
	}.withDefaults()
	if err != nil {
		w.t.Fatal(err)
	}
	var recs []*Record
	for _, r := range n.disk {
		recs = append(recs, r)
	}
	slices.SortFunc(recs, func(a, b *Record) int { return a.compare(b) })
	n.core, n.view = newCore(&cfg), newView(n.marks.rev+1)
	n.core.counter, n.core.clock.last = n.marks.counter, n.marks.stamp
	n.core.load(&saved{records: recs, horizon: map[string]Stamp{}}, n.view)
	n.marks = marks{n.core.counter + 1000, n.core.clock.last, n.view.rev + 1000}
	n.batch, n.answers, n.down = nil, map[uint64]func(answer){}, false
}

func (w *world) step(n *simNode, ev event) {
	if n.down {
		return
	}
	before := w.before(n, ev)
	for _, e := range n.core.Step(w.now.Add(n.skew), ev) {
		w.learn(n, before, e)
		if e.propose != nil {
			w.post = append(w.post, letter{from: n.name, to: e.propose.home, propose: e.propose})
			continue
		}
		n.batch = append(n.batch, e)
	}
	if w.rnd.IntN(3) == 0 {
		w.commit(n)
	}
}

// before is what a write in this step would answer for, by a machine and by a person.
func (w *world) before(n *simNode, ev event) (out [2]map[UID]map[Dot]bool) {
	var about *Write
	switch {
	case ev.write != nil:
		about = ev.write
	case ev.proposed != nil && n.core.pending[ev.proposed.write] != nil:
		about = n.core.pending[ev.proposed.write].ev.write
	default:
		return out
	}
	out[0] = w.truth.before(n.core, Write{Key: about.Key})
	out[1] = w.truth.before(n.core, Write{Key: about.Key, Human: true})
	return out
}

func (w *world) learn(n *simNode, before [2]map[UID]map[Dot]bool, e effect) {
	var recs []*Record
	if e.persist != nil {
		recs = []*Record{e.persist}
	} else if e.propose != nil {
		recs = e.propose.recs
	}
	for _, r := range recs {
		switch {
		case r.Dot.Actor != n.name:
		case r.Human:
			w.truth.after(before[1], r)
		default:
			w.truth.after(before[0], r)
		}
	}
}

// commit makes what was gathered durable and does what waited for it.
func (w *world) commit(n *simNode) {
	batch := n.batch
	n.batch = nil
	n.marks.stamp = n.core.clock.last
	if n.core.counter+500 > n.marks.counter {
		n.marks.counter = n.core.counter + 1000
	}
	for _, e := range batch {
		switch {
		case e.persist != nil:
			n.disk[e.persist.hash] = e.persist
			if h, ok := w.used[e.persist.Dot]; ok && h != e.persist.hash {
				w.t.Fatalf("dot %v was used twice", e.persist.Dot)
			}
			w.used[e.persist.Dot] = e.persist.hash
		case e.forget != nil:
			delete(n.disk, e.forget.hash)
		case e.show != nil:
			n.view.show(e.show)
		case e.publish != nil:
			for _, to := range w.names {
				w.post = append(w.post, letter{from: n.name, to: to, recs: e.publish})
			}
		case e.answer != nil:
			if f := n.answers[e.answer.id]; f != nil {
				f(*e.answer)
			}
		}
	}
}

// deliver takes a random letter out of the post, and loses or repeats it at times.
func (w *world) deliver() {
	if len(w.post) == 0 {
		return
	}
	i := w.rnd.IntN(len(w.post))
	l := w.post[i]
	if w.rnd.IntN(10) > 0 {
		w.post = slices.Delete(w.post, i, i+1)
	}
	to, lost := w.nodes[l.to], w.rnd.IntN(5) == 0 || w.side[l.from] != w.side[l.to]
	switch {
	case lost && l.propose != nil: // after its timeout the author goes on alone
		w.step(w.nodes[l.from], event{proposed: &proposed{write: l.propose.write, err: errors.New("timeout")}})
	case lost || to.down:
	case l.recs != nil:
		var recs []*Record
		for _, r := range l.recs {
			recs = append(recs, again(w.t, r))
		}
		w.step(to, event{receive: recs})
	case l.verdict != nil:
		w.step(to, event{proposed: l.verdict})
	case l.propose != nil:
		w.judge(l, to)
	}
}

func (w *world) judge(l letter, to *simNode) {
	w.ids++
	to.answers[w.ids] = func(a answer) {
		w.post = append(w.post, letter{from: l.to, to: l.from, verdict: &proposed{write: l.propose.write, verdict: a.verdict, current: a.current, err: a.err}})
	}
	w.step(to, event{id: w.ids, judge: l.propose.recs})
}

// write is one client on one node that reads and then writes.
func (w *world) write(n *simNode, i int) {
	k := Key{"core/things", "ns", string(rune('p' + w.rnd.IntN(4)))}
	o, _ := n.view.get(k)
	wr := &Write{Key: k, Base: o, Human: w.rnd.IntN(2) == 0, Body: fmt.Appendf(nil, "%s%d", n.name, i)}
	ev := event{write: wr}
	if o != nil {
		ev.base = o.version
		switch w.rnd.IntN(6) {
		case 0:
			wr.Op = Delete
		case 1:
			wr.Part = Status
		}
	}
	w.ids++
	ev.id = w.ids
	n.answers[ev.id] = func(a answer) {
		if a.err == nil && wr.Human && wr.Op == Put && wr.Part == Intent {
			n.core.set.all(func(r *Record) bool {
				if string(r.Body) == string(wr.Body) {
					w.acked[string(wr.Body)] = ack{r}
				}
				return true
			})
			for _, r := range n.disk {
				if string(r.Body) == string(wr.Body) {
					w.acked[string(wr.Body)] = ack{r}
				}
			}
		}
	}
	w.step(n, ev)
}

func noPropose(_ context.Context, _ string, _ []byte) ([]byte, error) {
	return nil, errors.New("simulated")
}

// reconcile exchanges what is on two disks.
func (w *world) reconcile(a, b *simNode) {
	if a.down || b.down || w.side[a.name] != w.side[b.name] {
		return
	}
	for _, d := range [...]struct{ from, to *simNode }{{a, b}, {b, a}} {
		var recs []*Record
		for _, r := range d.from.disk {
			recs = append(recs, r)
		}
		slices.SortFunc(recs, func(a, b *Record) int { return a.compare(b) })
		if len(recs) > 0 {
			w.step(d.to, event{receive: recs})
		}
		w.commit(d.to)
	}
}

func (w *world) chaos(steps int) {
	for i := range steps {
		w.now = w.now.Add(time.Duration(w.rnd.IntN(50)) * time.Millisecond)
		n := w.nodes[w.names[w.rnd.IntN(len(w.names))]]
		switch p := w.rnd.IntN(100); {
		case p < 25:
			if !n.down {
				w.write(n, i)
			}
		case p < 75:
			w.deliver()
		case p < 88:
			if !n.down {
				w.commit(n)
			}
		case p < 92:
			w.reconcile(n, w.nodes[w.names[w.rnd.IntN(len(w.names))]])
		case p < 94:
			n.down = true // power cut: what was not committed is gone
		case p < 96:
			if n.down {
				w.boot(n)
			}
		case p < 98:
			w.side[n.name] = w.rnd.IntN(2)
		default:
			clear(w.side)
		}
	}
}

func (w *world) heal() {
	clear(w.side)
	for _, name := range w.names {
		if w.nodes[name].down {
			w.boot(w.nodes[name])
		}
		w.commit(w.nodes[name])
	}
	w.post = nil
	w.now = w.now.Add(2 * maxSkew)
	for range 4 {
		for _, a := range w.names {
			for _, b := range w.names {
				w.step(w.nodes[a], event{tick: true})
				w.reconcile(w.nodes[a], w.nodes[b])
			}
		}
	}
}

func (w *world) check(seed uint64) {
	first := w.nodes[w.names[0]]
	for _, name := range w.names {
		n := w.nodes[name]
		if n.core.set.total() != first.core.set.total() || len(n.disk) != n.core.set.size() {
			w.t.Fatalf("seed %d: %s holds %d records (%d on disk), %s holds %d\n%s\n%s", seed, name, n.core.set.size(), len(n.disk), first.name, first.core.set.size(), dump(n.core), dump(first.core))
		}
		for k := range 4 {
			key := Key{"core/things", "ns", string(rune('p' + k))}
			x, _ := n.view.get(key)
			y, _ := first.view.get(key)
			if describe(x) != describe(y) || x != nil && (x.UID != y.UID || fmt.Sprint(x.Head) != fmt.Sprint(y.Head)) {
				w.t.Fatalf("seed %d: %s shows %s, %s shows %s", seed, name, describe(x), first.name, describe(y))
			}
		}
	}
	for body, a := range w.acked {
		l := first.core.life(a.rec.Key, a.rec.UID)
		if l == nil || !slices.ContainsFunc(l.unsettled(), func(r *Record) bool {
			return w.truth[r.hash][a.rec.Dot]
		}) {
			w.t.Fatalf("seed %d: the acknowledged edit %q is lost\n%s", seed, body, dump(first.core))
		}
	}
}

func TestSimulatedMesh(t *testing.T) {
	seeds := uint64(400)
	acked := 0
	for seed := range seeds {
		w := newWorld(t, seed, 3+int(seed%3))
		w.chaos(500)
		w.heal()
		w.check(seed)
		acked += len(w.acked)
	}
	if acked < int(seeds)*5 {
		t.Fatalf("only %d acknowledged edits: the simulation tests too little", acked)
	}
}

// TestSameSeedSameHistory: the core has no hidden input.
func TestSameSeedSameHistory(t *testing.T) {
	history := func() string {
		w := newWorld(t, 42, 4)
		w.chaos(600)
		w.heal()
		out := ""
		for _, n := range w.names {
			out += fmt.Sprintf("%x %d\n", w.nodes[n].core.set.total(), w.nodes[n].view.rev)
		}
		return out
	}
	if a, b := history(), history(); a != b {
		t.Fatalf("two runs differ:\n%s\n%s", a, b)
	}
}
