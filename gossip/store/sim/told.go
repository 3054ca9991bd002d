package sim

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// replied notes what a client was told.
func (o *oracle) replied(w *world, x *op, r *store.Reply) {
	x.closed = true
	if r.Err != nil || r.Object == nil {
		x.doubtful = errors.Is(r.Err, store.ErrReadOnly) || errors.Is(r.Err, store.ErrConflict)
		w.tell("%s is told: w%d %v", x.n.name, x.id, r.Err)
		o.denied(w, x, r.Err)
		return
	}
	x.acked = true
	o.ackedCount++
	w.tell("%s is told: w%d done: %s", x.n.name, x.id, describe(r.Object))
	if classOf(x.w.Key) == store.Durable && x.w.Part == store.Intent && !x.sure && !o.ended(x) {
		w.fail("w%d was acknowledged by %s and is on no disk:\n%s", x.id, x.n.name, strings.Join(x.n.r.Dump(), "\n"))
	}
	if x.w.Base == nil {
		x.uid = r.Object.UID
	}
	o.sameLife(w, x, r.Object)
	o.sticks(w, x, r.Object)
}

// denied: who is refused is shown what came first, and does not hold what was refused.
func (o *oracle) denied(w *world, x *op, err error) {
	if w.plan.leapt || !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {
		return
	}
	if x.own {
		w.fail("w%d was refused by %s, whose disk has it: %v", x.id, x.n.name, err)
	}
	excuse := func(r *store.Record) bool { // the home has not heard of another life's end, or is ahead
		return (x.w.Base != nil || w.plan.forgot) && r.UID.String() != x.uid || r.Stamp.Time().After(x.heard.Add(time.Minute))
	}
	if x.n.look(); x.n.shows[x.w.Key] == x.shows && !slices.ContainsFunc(x.why, excuse) {
		w.fail("w%d was refused by %s, which shows what it showed before: %v, %s", x.id, x.n.name, err, describe(x.n.object(x.w.Key)))
	}
}

// sameLife: a writer hears of the life that it wrote, not of one that came after.
func (o *oracle) sameLife(w *world, x *op, now *store.Object) {
	if x.w.Op == store.Delete || x.w.Part != store.Intent || classOf(x.w.Key) != store.Durable {
		return
	}
	if x.w.Base != nil && now.UID != x.w.Base.UID {
		w.fail("w%d wrote %s, and %s answers with %s", x.id, x.w.Base.UID, x.n.name, now.UID)
	}
	for u := range x.made {
		if u.String() == now.UID {
			return
		}
	}
	if len(x.made) > 0 {
		w.fail("w%d made another life than the one that %s answers with: %s", x.id, x.n.name, now.UID)
	}
}

// sticks: what a write said once and for all is in what it is answered with.
func (o *oracle) sticks(w *world, x *op, now *store.Object) {
	if x.w.Op == store.Delete || x.w.Part != store.Intent || now.UID != x.uid || w.plan.leapt || o.forgotten[x.w.Key] {
		return
	}
	lost := slices.ContainsFunc(x.w.Head.Removed, func(f string) bool { return !slices.Contains(now.Head.Removed, f) })
	if lost || x.w.Head.DeletionTime != 0 && (now.Head.DeletionTime == 0 || now.Head.DeletionTime > x.w.Head.DeletionTime) {
		w.fail("w%d was acknowledged by %s, and its head is lost: %+v, then %+v", x.id, x.n.name, x.w.Head, now.Head)
	}
}
