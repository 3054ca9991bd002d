package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// oracle knows what every client asked for, what it had been shown when it did, and what it was told. From that alone, and
// from nothing inside a replica, it says what must be true.
//
// Every write answers for the people's edits that its writer saw: a person for all that was shown, siblings included, a
// machine for what executed. An acknowledged edit is kept where something that is shown answers for it, or where a delete
// that answers for it ended the object.
type oracle struct {
	ops        []*op
	about      map[store.Key][]*op
	bodies     map[string]*op
	statuses   map[string]*op              // by body
	released   map[store.UID][]store.Basis // of claims: what delete records let go
	followed   Followed
	deletes    map[string][]*op // by UID
	dots       map[store.Dot][32]byte
	graves     map[store.Dot]*op // who asked for a delete record
	bad        map[[32]byte]string
	found      []*op              // what came into somebody's lost-and-found
	forgotten  map[store.Key]bool // objects of which a node forgot a write of its own: its later ones cover it (DESIGN.md)
	ackedCount int
	buried     map[store.UID]bool // somebody deleted them
	over       map[store.UID]bool // of these, what everybody knew to be over
}

type op struct {
	id       int
	n        *node
	author   string
	life     int
	stamp    store.Stamp // of what it made
	w        store.Write
	uid      string // of Base
	spec     int
	answers  map[int]bool // people's edits, by id
	acked    bool
	sure     bool                // something of it is on a disk
	doubtful bool                // the client was told no, and it may have come about
	adrift   bool                // its node crashed while it was under way or in doubt, which is known in memory only
	closed   bool                // the client was told
	graves   map[store.Dot]basis // the delete records that it made
	exempt   bool                // whoever held it lost its disk, or was evicted
	holders  map[string]time.Duration
	made     map[store.UID]bool // the lives that what it put is of
	own      bool               // a put that its node's disk was the first to have
	dot      store.Dot          // of the person's edit that it made
	twice    bool               // it was made again while all was written anew: that is another edit (DESIGN.md)
	shows    int                // how often its node had shown the object, when it was asked for
	why      []*store.Record    // what a home had instead
	claim    store.Basis        // of a claim: where it was made
	heard    time.Time          // when, by its own clock
}

// basis is the person's edit that a record builds on, as a sibling shows it.
type basis struct {
	author string
	time   int64
}

func newOracle() *oracle {
	return &oracle{about: map[store.Key][]*op{}, bodies: map[string]*op{}, statuses: map[string]*op{}, released: map[store.UID][]store.Basis{}, deletes: map[string][]*op{}, dots: map[store.Dot][32]byte{}, graves: map[store.Dot]*op{}, bad: map[[32]byte]string{}, forgotten: map[store.Key]bool{}, buried: map[store.UID]bool{}, over: map[store.UID]bool{}}
}

// asked notes a write before it is made.
func (o *oracle) asked(n *node, w store.Write, spec int) *op {
	x := &op{id: len(o.ops), n: n, author: n.name, life: n.lives, w: w, spec: spec, answers: map[int]bool{}, holders: map[string]time.Duration{}, made: map[store.UID]bool{}, shows: n.shows[w.Key], exempt: !n.member}
	if w.Base != nil {
		x.uid = w.Base.UID
		o.add(x.answers, o.bodies[string(w.Base.Bodies[store.Intent])])
		for _, s := range w.Base.Others {
			if w.Human {
				o.addSibling(x.answers, w.Key, s)
			}
		}
	}
	if w.Human && w.Part == store.Intent {
		x.answers[x.id] = true
	}
	o.ops = append(o.ops, x)
	o.about[w.Key] = append(o.about[w.Key], x)
	if w.Op == store.Delete {
		o.deletes[x.uid] = append(o.deletes[x.uid], x)
	} else if w.Part == store.Intent {
		o.bodies[string(w.Body)] = x
	} else {
		o.statuses[string(w.Body)] = x
	}
	return x
}

func (o *oracle) add(to map[int]bool, x *op) {
	if x != nil {
		for id := range x.answers {
			to[id] = true
		}
	}
}

// addSibling finds the writes behind a sibling: a put's by its body, a delete's by the person's edit that it builds on.
func (o *oracle) addSibling(to map[int]bool, k store.Key, s store.Sibling) {
	if !s.Delete {
		o.add(to, o.bodies[string(s.Body)])
		return
	}
	for d, x := range o.graves {
		if x.w.Key == k && x.graves[d] == (basis{s.Author, s.Time}) {
			o.add(to, x)
		}
	}
}

func within(a, b map[int]bool) bool {
	for id := range a {
		if !b[id] {
			return false
		}
	}
	return true
}

// wrote sees what came onto a disk.
func (o *oracle) wrote(w *world, n *node, cs []store.Change) {
	for _, c := range cs {
		r := c.Record
		if r != nil && c.Bucket == "lost" {
			if x := o.bodies[string(r.Body)]; x != nil {
				o.found = append(o.found, x)
			}
		}
		if r == nil || c.Value == nil || c.Bucket != "records" {
			continue
		}
		n.ever[r.Hash()] = true
		author := n.name
		h, ok := o.dots[r.Dot]
		if !ok { // a home may be the first to have it, and the last: it went down before it answered
			author = r.Dot.Actor
		}
		if ok && h != r.Hash() && !w.authors.lies(r.Dot.Actor) {
			w.fail("dot %v was used twice", r.Dot)
		}
		o.dots[r.Dot] = r.Hash()
		if r.Dot.Actor != n.name && r.Stamp.Time().After(w.clock().Add(max(n.lead, n.ahead())+time.Minute)) {
			w.fail("%s takes %v in, which is dated %s ahead", n.name, r.Dot, r.Stamp.Time().Sub(w.clock()))
		}
		if r.Op == store.Delete {
			o.buried[r.UID] = true
			if r.Claim {
				o.released[r.UID] = append(o.released[r.UID], r.Basis)
			}
		}
		if r.Part != store.Intent {
			o.told(n, r)
			continue
		}
		if x := o.source(author, r); x != nil {
			x.stamp = max(x.stamp, r.Stamp)
			x.own = x.own || !ok && !x.sure && r.Op == store.Put && r.Dot.Actor == n.name
			if r.Human {
				x.twice = x.twice || x.dot.N != 0 && x.dot != r.Dot
				x.dot = r.Dot
			}
			if r.Claim && r.Op == store.Put {
				x.claim = r.Basis
			}
			o.surely(x)
			o.born(w, x, r)
			if r.Dot.Actor == n.name {
				x.holders[n.name] = w.now
			}
		}
	}
}

// told notes what is on a disk of a status.
func (o *oracle) told(n *node, r *store.Record) {
	if x := o.statuses[string(r.Body)]; x != nil {
		x.stamp, x.made[r.UID] = max(x.stamp, r.Stamp), true
		if r.Dot.Actor == n.name {
			x.holders[n.name] = n.w.now
		}
	}
}

// surely notes that something of a write is on a disk.
func (o *oracle) surely(x *op) {
	if x.sure = true; x.adrift {
		o.forgotten[x.w.Key] = true
	}
}

// source is the write that a record came from, where its author is the named node.
func (o *oracle) source(author string, r *store.Record) *op {
	switch {
	case r.Part != store.Intent:
		return nil
	case r.Op == store.Put:
		return o.bodies[string(r.Body)]
	}
	if x := o.graves[r.Dot]; x != nil || r.Dot.Actor != author {
		return x
	}
	uid := r.UID.String()
	x := likeliest(o.about[r.Key], func(d *op) bool {
		ours := d.author == author && d.w.Part == store.Intent && d.w.Human == r.Human
		if d.w.Op == store.Delete && d.uid == uid {
			return ours && d.graves == nil
		}
		return ours && d.w.Base != nil && d.uid != uid // it wrote the life that is shown, and settles the other ones of the key
	})
	if x != nil {
		if x.graves == nil {
			x.graves = map[store.Dot]basis{}
		}
		x.graves[r.Dot] = basis{r.Basis.Dot.Actor, r.Basis.Stamp.Milliseconds()}
		o.graves[r.Dot] = x
		if x.uid != uid {
			o.deletes[uid] = append(o.deletes[uid], x)
		}
	}
	return x
}

// likeliest finds a write that is under way, or else one that was when its node went down, or else the latest that was refused and
// may have come about.
func likeliest(ops []*op, fits func(*op) bool) *op {
	for _, likely := range []func(*op) bool{
		func(d *op) bool { return !d.closed && d.life == d.n.lives },
		func(d *op) bool { return !d.closed },
	} {
		for _, d := range ops {
			if likely(d) && fits(d) {
				return d
			}
		}
	}
	for _, d := range slices.Backward(ops) {
		if d.doubtful && fits(d) {
			return d
		}
	}
	return nil
}

// accepted notes that a home has on its disk what it was asked to accept.
func (o *oracle) accepted(home *node, frame []byte) {
	for _, r := range store.Unframe(frame) {
		if x := o.source(r.Dot.Actor, r); x != nil {
			x.holders[home.name] = home.w.now
			o.surely(x)
		}
	}
}

// met notes that to holds what from held when they began.
func (o *oracle) met(w *world, from, to *node, began time.Duration) {
	enough := min(4, len(w.nodes))
	late := w.clock().Add(time.Minute)
	for _, x := range o.ops {
		if len(x.holders) == 0 || len(x.holders) >= enough || x.stamp.Time().After(late) { // held back in memory, now or once the clocks are right
			continue
		}
		if at, ok := x.holders[from.name]; ok && at < began {
			if _, has := x.holders[to.name]; !has {
				x.holders[to.name] = w.now
			}
		}
	}
}

// crashed notes that a node forgets what it was asking homes for, and what it holds in doubt: they may have accepted it.
func (o *oracle) crashed(n *node) {
	for _, x := range o.ops {
		if x.author != n.name || x.life != n.lives || x.closed && !x.doubtful {
			continue
		}
		x.adrift = true
		if !x.closed || x.sure {
			o.forgotten[x.w.Key] = true
		}
	}
}

// forgot notes that a node keeps its name and no longer has what came to it after the given time.
func (o *oracle) forgot(n *node, since time.Duration) {
	for _, x := range o.ops {
		if at, ok := x.holders[n.name]; x.author == n.name && (!ok || at >= since || x.w.Part != store.Intent) {
			o.forgotten[x.w.Key] = true
		}
	}
	o.lost(n, since)
}

// lost notes that a node's disk no longer has what came to it after the given time.
func (o *oracle) lost(n *node, since time.Duration) {
	for _, x := range o.ops {
		if at, ok := x.holders[n.name]; ok && at >= since {
			delete(x.holders, n.name)
			if len(x.holders) == 0 || x.author == n.name { // an author that forgets its own edit may cover it (DESIGN.md)
				x.exempt = true
			}
		}
	}
}

// ended: of deletes of one object by one node it is not known which one made the record.
func (o *oracle) ended(x *op) bool {
	return x.w.Op == store.Delete && slices.ContainsFunc(o.deletes[x.uid], func(d *op) bool { return d.author == x.author && d.sure })
}

// shown checks one change of a view.
func (o *oracle) shown(w *world, n *node, old, now *store.Object) {
	if w.onShow != nil && now != nil {
		w.onShow(n, now)
	}
	k := now
	if k == nil {
		k = old
	}
	n.shows[k.Key]++
	w.tell("%s shows %s: %s", n.name, k.Key, describe(now))
	if old != nil && now == nil {
		n.dead[old.UID] = true
	}
	if now == nil {
		return
	}
	was := n.heads[now.UID]
	n.heads[now.UID] = now
	if n.dead[now.UID] {
		delete(n.dead, now.UID)
		o.revived(w, n, now)
	}
	if was == nil {
		return
	}
	a, b := was.Head, now.Head
	switch {
	case w.plan.leapt: // what was written in another year is written anew
	case o.forgotten[now.Key]: // what was forgotten no longer sticks nor counts
	case a.DeletionTime != 0 && (b.DeletionTime == 0 || b.DeletionTime > a.DeletionTime):
		w.fail("%s: the deletion of %s moved from %d to %d", n.name, now.Key, a.DeletionTime, b.DeletionTime)
	case slices.ContainsFunc(a.Removed, func(f string) bool { return !slices.Contains(b.Removed, f) }):
		w.fail("%s: a removed finalizer of %s came back: %v, then %v", n.name, now.Key, a.Removed, b.Removed)
	case b.Generation < a.Generation:
		w.fail("%s: the generation of %s fell: %s, then %s\n%s", n.name, now.Key, describe(was), describe(now), strings.Join(n.r.Dump(), "\n"))
	}
	x, y := o.bodies[string(was.Bodies[store.Intent])], o.bodies[string(now.Bodies[store.Intent])]
	if x != nil && y != nil && x.spec != y.spec && b.Generation == a.Generation && !w.plan.leapt && !o.forgotten[now.Key] && len(was.Others)+len(now.Others) == 0 {
		w.fail("%s: what %s asks for changed and its generation did not: %s, then %s", n.name, now.Key, describe(was), describe(now))
	}
}

// revived checks that an ended object is back for a person's edit alone, one that its delete did not know.
func (o *oracle) revived(w *world, n *node, now *store.Object) {
	if w.plan.leapt || now.Kind == claims { // a delete may have been dated next year
		return
	}
	all := o.answered(now)
	for _, d := range o.deletes[now.UID] {
		if !within(all, d.answers) {
			return
		}
	}
	if len(o.deletes[now.UID]) > 0 {
		w.fail("%s: %s came back from the dead: %s", n.name, now.Key, describe(now))
	}
}

// answered is what all that is shown of an object answers for.
func (o *oracle) answered(x *store.Object) map[int]bool {
	out := map[int]bool{}
	o.add(out, o.bodies[string(x.Bodies[store.Intent])])
	for _, s := range x.Others {
		if !s.Delete {
			o.addSibling(out, x.Key, s)
		}
	}
	return out
}

// repeats reports that something shown was made twice.
func (o *oracle) repeats(x *store.Object) bool {
	for id := range o.answered(x) {
		if o.ops[id].twice {
			return true
		}
	}
	return false
}

// published: nothing leaves a node that is not on its disk.
func (o *oracle) published(w *world, n *node, frame []byte) {
	for _, r := range store.Unframe(frame) {
		if classOf(r.Key) == store.Durable && !n.ever[r.Hash()] {
			w.fail("%s publishes %v, which is not on its disk", n.name, r.Dot)
		}
	}
}

func (o *oracle) refused(w *world, n *node, from string, h [32]byte) {
	if o.bad[h] == "" {
		w.fail("%s refuses an honest frame of %s", n.name, from)
	}
}

func (o *oracle) relayed(w *world, n *node, from string, h [32]byte) {
	if why := o.bad[h]; why != "" {
		w.fail("%s takes poison of %s: %s", n.name, from, why)
	}
}

func (o *oracle) unjudged(w *world, home, n *node, err error) {
	if !errors.Is(err, store.ErrReadOnly) {
		w.fail("%s refuses an honest proposal of %s: %v", home.name, n.name, err)
	}
}

func (o *oracle) broken(w *world, n, peer *node, err error) {
	w.fail("%s cannot reconcile with %s: %v", n.name, peer.name, err)
}

// equal checks that two nodes show the same.
func (o *oracle) equal(w *world, a, b *node) {
	for _, kind := range []string{pods, things, claims} {
		x, y := lines(a.r.Objects(kind)), lines(b.r.Objects(kind))
		if x != y {
			w.fail("%s shows\n%s%s shows\n%s", a.name, x, b.name, y)
		}
	}
}

func lines(objs []*store.Object) string {
	var b strings.Builder
	for _, x := range objs {
		fmt.Fprintf(&b, "  %s %s %s status %.8x\n", x.Key, describe(x), x.Author, x.Bodies[store.Status])
	}
	return b.String()
}

// evicted: what only this node holds is its own from now on.
func (o *oracle) evicted(w *world, n *node) {
	for _, x := range o.ops {
		if _, ok := x.holders[n.name]; ok && len(x.holders) == 1 {
			x.exempt = true
		}
	}
}
