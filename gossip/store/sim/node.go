package sim

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// node is one server: a replica, its disk, its clock, and what it was in the middle of.
type node struct {
	w         *world
	mesh      []*node // in a large mesh, whom it gossips with
	out       int     // bytes sent
	name      string
	i         int
	up        bool
	member    bool // not evicted
	away      bool // switched off on purpose
	lives     int  // boots; what was started in an earlier one is void
	beats     int  // of its ticks and repairs, likewise
	clock     clock
	lead      time.Duration // how far its clock was ahead at most, since it booted
	disk      disk
	r         *store.Replica
	fresh     bool // it joined and met nobody yet: it serves no clients
	forgetful bool
	watch     []*store.Subscription
	rev       store.Revision // up to which the oracle has seen its view
	pending   map[uint64]func(*store.Reply)
	inbox     []func() // inputs while the disk is behind
	talks     int      // reconciliations that it asked for and that go on
	served    int
	seen      map[[32]byte]bool        // messages of gossip
	ever      map[[32]byte]bool        // records that were on its disk
	heads     map[string]*store.Object // by UID, as last shown
	shows     map[store.Key]int        // how often it showed a change
	asking    map[uint64]*op           // writes under way, by their input's ID
	dead      map[string]bool          // UIDs that this disk knows as ended
	view      []*node                  // whom it takes for alive, for homes
	viewed    time.Duration
}

// clock is a wall clock that is wrong.
type clock struct {
	offset time.Duration
	drift  int64 // parts per million
	since  time.Duration
}

func (n *node) time() time.Time {
	c := n.clock
	return n.w.clock().Add(c.offset + time.Duration(int64(n.w.now-c.since)/1_000_000*c.drift))
}

// set makes the clock right but for an offset.
func (n *node) set(offset time.Duration) {
	n.lead = max(n.lead, n.ahead(), offset)
	n.clock.offset, n.clock.since = offset, n.w.now
}

func (n *node) ahead() time.Duration { return n.time().Sub(n.w.clock()) }

func sign(actor string, msg []byte) []byte {
	h := fnv.New64a()
	h.Write([]byte(actor))
	h.Write([]byte("'s secret"))
	h.Write(msg)
	return h.Sum(nil)
}

var errSignature = errors.New("bad signature")

func verify(actor string, msg, sig []byte) error {
	if string(sign(actor, msg)) != string(sig) {
		return errSignature
	}
	return nil
}

func (n *node) config() store.Config {
	w := n.w
	return store.Config{
		Dir: "-", Self: n.name, Class: classOf,
		Sign:         func(msg []byte) ([]byte, error) { return sign(n.name, msg), nil },
		Verify:       verify,
		Home:         n.home,
		Propose:      func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("the world asks") },
		Publish:      func([]byte) {},
		Members:      w.members,
		Fit:          n.fit,
		Forgetful:    n.forgetful,
		EphemeralMax: 20,
	}
}

// members are all who were not evicted.
func (w *world) members() []string {
	var out []string
	for _, n := range w.nodes {
		if n.member {
			out = append(out, n.name)
		}
	}
	return out
}

// home is the highest rendezvous weight among those whom this node takes for alive, a view that is up to 3 s old.
func (n *node) home(root store.Key) string {
	w := n.w
	if n.view == nil || w.now-n.viewed > 3*time.Second {
		n.view, n.viewed = nil, w.now
		for _, o := range w.nodes {
			if o == n || o.up && w.links.open(n.i, o.i) && w.links.open(o.i, n.i) {
				n.view = append(n.view, o)
			}
		}
	}
	best, weight := n, uint64(0)
	for _, o := range n.view {
		h := fnv.New64a()
		h.Write([]byte(root.Kind + "/" + root.Namespace + "/" + root.Name + "@" + o.name))
		x := h.Sum64()
		x ^= x >> 33
		x *= 0xff51afd7ed558ccd
		x ^= x >> 33
		if x >= weight {
			best, weight = o, x
		}
	}
	return best.name
}

// fit compares the clock with the peers that can be asked, as package gossip does: two witnesses accuse, one does not.
func (n *node) fit() error {
	var offsets []time.Duration
	for _, o := range n.w.nodes {
		if o != n && o.up && n.w.links.open(n.i, o.i) && n.w.links.open(o.i, n.i) {
			offsets = append(offsets, o.time().Sub(n.time()))
		}
	}
	if len(offsets) < 2 {
		return nil
	}
	slices.Sort(offsets)
	if m := offsets[len(offsets)/2]; m.Abs() > 30*time.Second {
		return errors.New("the clock is off")
	}
	return nil
}

// boot starts the node from its disk.
func (n *node) boot() {
	w := n.w
	n.lives++
	n.lead = n.ahead()
	r, marks, err := store.NewReplica(n.config(), n.disk.image(), n.time(), w.plan.limits)
	if err != nil {
		w.tell("%s finds its disk corrupt: %v", n.name, err)
		if !n.disk.damaged {
			w.fail("%s cannot read what it wrote: %v", n.name, err)
		}
		w.wiped(n)
		r, marks, err = store.NewReplica(n.config(), n.disk.image(), n.time(), w.plan.limits)
	} else if n.disk.damaged {
		w.fail("%s did not notice the damage of its disk", n.name)
	}
	if err != nil {
		w.fail("%s cannot start: %v", n.name, err)
	}
	n.disk.write(marks)
	n.disk.busy, n.disk.under = false, nil
	n.r, n.up, n.pending, n.inbox, n.talks, n.served = r, true, map[uint64]func(*store.Reply){}, nil, 0, 0
	n.shows, n.asking = map[store.Key]int{}, map[uint64]*op{}
	n.seen, n.dead, n.heads, n.view = map[[32]byte]bool{}, map[string]bool{}, map[string]*store.Object{}, nil
	n.watch, n.rev = n.watch[:0], r.Rev()
	for _, kind := range []string{pods, things, claims} {
		s, err := r.Subscribe(store.Selector{Kind: kind}, 0, true)
		if err != nil {
			w.fail("%s cannot be watched: %v", n.name, err)
		}
		for _, o := range s.Initial {
			w.oracle.shown(w, n, nil, o)
		}
		n.watch = append(n.watch, s)
	}
	w.tell("%s is up, %d records", n.name, r.Sizes().Records)
	n.beat()
	life := n.lives
	w.after(w.between(0, time.Second), func() {
		if n.lives == life && n.up {
			w.reconcile(n, w.other(n))
		}
	})
}

// beat begins the node's ticks and repairs, anew where the world's pace changed.
func (n *node) beat() {
	w := n.w
	n.beats++
	beats := n.beats
	on := func() bool { return n.beats == beats && n.up }
	w.every(func() time.Duration { return w.plan.tick }, on, func() { n.step(n.r.Tick()) })
	w.every(func() time.Duration { return w.plan.repair*3/4 + w.between(0, w.plan.repair/2) }, on, func() { w.reconcile(n, w.other(n)) })
}

// pace says how often nodes tick and repair from now on.
func (w *world) pace(tick, repair time.Duration) {
	w.plan.tick, w.plan.repair = tick, repair
	for _, n := range w.nodes {
		if n.up {
			n.beat()
		}
	}
}

// every does something again and again, for as long as it goes on.
func (w *world) every(wait func() time.Duration, on func() bool, do func()) {
	w.after(wait(), func() {
		if on() {
			do()
			w.every(wait, on, do)
		}
	})
}

// down ends the node: what is not on its disk is gone.
func (n *node) down() {
	n.w.oracle.crashed(n)
	n.up = false
	n.lives++
	n.beats++
	n.r, n.pending, n.inbox = nil, nil, nil
	n.w.tell("%s is down", n.name)
}

// step gives an input to the replica, once the disk is not too far behind.
func (n *node) step(in store.Input) {
	if !n.up {
		return
	}
	if n.r.Behind() {
		n.inbox = append(n.inbox, func() { n.step(in) })
		if len(n.inbox) > 4096 {
			n.w.fail("%s has %d inputs waiting", n.name, len(n.inbox))
		}
		return
	}
	n.act(n.r.Step(n.time(), in))
	n.flush()
	n.observe()
}

// ask steps an input that is replied to.
func (n *node) ask(id uint64, in store.Input, then func(*store.Reply)) {
	n.pending[id] = then
	n.step(in)
}

func (n *node) act(acts []store.Action) {
	acts = slices.Clone(acts)
	for _, a := range acts {
		if !n.up {
			return
		}
		switch {
		case a.Reply != nil:
			if then := n.pending[a.Reply.ID]; then != nil {
				delete(n.pending, a.Reply.ID)
				then(a.Reply)
			}
		case a.Publish != nil:
			n.publish(a.Publish)
		case a.Ask != nil:
			n.propose(a.Ask)
		}
	}
}

// flush starts a batch where none is under way.
func (n *node) flush() {
	w := n.w
	if n.disk.busy {
		return
	}
	b, acts := n.r.Begin()
	n.act(acts)
	if b != nil && n.up {
		n.disk.busy = true
		n.commit(b)
	}
	_ = w
}

func (n *node) commit(b *store.Batch) {
	w, life := n.w, n.lives
	n.disk.under = b.Changes()
	w.after(w.commitTime(n), func() {
		if n.lives != life || !n.up {
			return
		}
		err := n.disk.error(w)
		if err == nil {
			n.disk.write(n.disk.under)
			w.oracle.wrote(w, n, n.disk.under)
		}
		if errors.Is(err, errSync) { // nobody knows what is on the disk
			if w.chance(2) {
				n.disk.write(n.disk.under)
				w.oracle.wrote(w, n, n.disk.under)
			}
		}
		acts, again, fatal := n.r.Committed(err)
		n.act(acts)
		switch {
		case fatal != nil:
			w.tell("%s: %v", n.name, fatal)
			n.down()
			w.after(w.between(time.Second, 10*time.Second), n.start)
			return
		case again:
			w.after(time.Second, func() {
				if n.lives == life && n.up {
					n.commit(b)
				}
			})
			return
		}
		n.disk.busy, n.disk.under = false, nil
		n.flush()
		n.observe()
		for len(n.inbox) > 0 && n.up && !n.r.Behind() {
			next := n.inbox[0]
			n.inbox = n.inbox[1:]
			next()
		}
	})
}

// start boots a node that is down, and not away.
func (n *node) start() {
	if !n.up && !n.away {
		n.boot()
	}
}

// observe lets the oracle see what became visible.
func (n *node) observe() {
	if !n.up {
		return
	}
	if rev := n.r.Rev(); rev != n.rev {
		n.rev = rev
		n.look()
	}
	z, l := n.r.Sizes(), n.w.plan.limits
	if z.Early > l.Early || z.Held > l.Held || z.Waiting > l.Waiting {
		n.w.fail("%s is over its bounds: %+v", n.name, z)
	}
}

// look shows the oracle what changed since it looked last.
func (n *node) look() {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for _, s := range n.watch {
		evs, err := s.Next(done)
		if err != nil && !errors.Is(err, context.Canceled) {
			n.w.fail("%s cannot be watched: %v", n.name, err)
		}
		for _, ev := range evs {
			n.w.oracle.shown(n.w, n, ev.Old, ev.New)
		}
	}
}
