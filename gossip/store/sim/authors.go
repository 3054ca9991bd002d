package sim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// authors speak without being replicas: one of a later version, whose records have fields and kinds and whose frames have
// types that nobody here knows; and a liar, who is a member with a key of its own and says whatever it likes.
type authors struct {
	w *world
	n uint64
}

func newAuthors(w *world) authors { return authors{w: w} }

func (a *authors) lies(actor string) bool { return actor == "liar" || actor == "later" }

// speak says one thing to a random node, or to all.
func (a *authors) speak() {
	w := a.w
	a.n++
	switch p := w.rnd.IntN(10); {
	case p < 2:
		a.say("later", a.record("later", w.clock(), 0), []byte("a field of the next version"), "")
	case p < 3:
		a.tell([]byte{0x91, 1, 2, 3}, "later", "")
	case p < 5: // twice the same dot, with other words
		r := a.record("liar", w.clock(), 0)
		a.say("liar", r, nil, "")
		r.Body = append(r.Body, "!"...)
		a.say("liar", r, nil, "")
	case p < 6: // many from next year
		for range 10 {
			a.n++
			a.say("liar", a.record("liar", w.clock().Add(365*24*time.Hour), 0), nil, "")
		}
	case p < 7: // in the name of somebody else
		r := a.record(w.any().name, w.clock(), 1<<50)
		f, err := store.Seal(r, nil, func(msg []byte) ([]byte, error) { return sign("liar", msg), nil })
		if err == nil {
			a.tell(f, "liar", "signed by another")
		}
	case p < 8: // a good frame, damaged
		r := a.record("liar", w.clock(), 0)
		if f, err := store.Seal(r, nil, func(msg []byte) ([]byte, error) { return sign("liar", msg), nil }); err == nil {
			f[1+w.rnd.IntN(len(f)-1)] ^= 1 << w.rnd.IntN(8)
			a.tell(f, "liar", "damaged")
		}
	case p < 9: // lengths that promise more than there is
		a.tell(append([]byte{'r'}, bytes.Repeat([]byte{0xff}, 5+w.rnd.IntN(20))...), "liar", "bomb")
	default:
		a.tell(append([]byte{'r'}, make([]byte, 70<<10)...), "liar", "over the bound")
	}
}

func (a *authors) record(actor string, at time.Time, n uint64) store.Record {
	kind := "later/widgets"
	if actor == "liar" {
		kind = "lies/lies"
	}
	k := store.Key{Kind: kind, Namespace: "ns", Name: fmt.Sprint(actor, a.n%7)}
	r := store.Record{Key: k, Root: k, Human: a.n%2 == 0, Dot: store.Dot{Actor: actor, N: n + 1 + a.n}, Stamp: store.Stamp(at.UnixMilli()) << 16, Body: fmt.Appendf(nil, "x%d", a.n)}
	r.UID[0] = byte(a.n % 7)
	r.UID[1] = kind[0]
	return r
}

func (a *authors) say(actor string, r store.Record, tail []byte, bad string) {
	f, err := store.Seal(r, tail, func(msg []byte) ([]byte, error) { return sign(actor, msg), nil })
	if err == nil {
		a.tell(f, actor, bad)
	}
}

// tell gives the frame to some nodes; the others hear of it from these, if it is any good.
func (a *authors) tell(frame []byte, from, bad string) {
	w := a.w
	h := sha256.Sum256(frame)
	if bad != "" {
		w.oracle.bad[h] = bad
	}
	w.tell("%s says %.16x (%s)", from, frame, bad)
	for range 1 + w.rnd.IntN(3) {
		n := w.any()
		w.after(w.delay(), func() {
			if n.up {
				n.hear(from, frame, h)
			}
		})
	}
}

// credit lets the liar write an object of its own on top of writes that it says are of that node, which never made them, and
// lets a machine on the node write on top of it.
func (a *authors) credit(n *node) {
	w := a.w
	a.n++
	k := store.Key{Kind: "lies/lies", Namespace: "ns", Name: fmt.Sprint("credit", a.n)}
	forged := a.record("liar", w.clock(), 0)
	forged.Key, forged.Root, forged.Dot = k, k, store.Dot{Actor: n.name, N: 1 << 55}
	f, err := store.Seal(forged, nil, func([]byte) ([]byte, error) { return nil, nil })
	if err != nil {
		return
	}
	f = a.onTop(k, f)
	a.tell(f, "liar", "")
	for range 3 {
		w.after(w.between(0, 3*time.Second), func() {
			if !n.up {
				return
			}
			id := w.id()
			if in, err := n.r.Admit(id, store.Write{Key: k, Base: n.object(k), Body: fmt.Appendf(nil, "on top %d", id)}); err == nil {
				n.ask(id, in, func(*store.Reply) {})
			}
		})
	}
}

// onTop is what the liar's own replica, which believes anything, makes of a frame.
func (a *authors) onTop(k store.Key, frame []byte) (told []byte) {
	w := a.w
	cfg := store.Config{
		Dir: "-", Self: "liar", Publish: func([]byte) {},
		Sign:   func(msg []byte) ([]byte, error) { return sign("liar", msg), nil },
		Verify: func(string, []byte, []byte) error { return nil },
	}
	r, _, err := store.NewReplica(cfg, nil, w.clock(), w.plan.limits)
	if err != nil {
		w.fail("the liar cannot start: %v", err)
	}
	step := func(in store.Input) {
		r.Step(w.clock(), in)
		r.Begin()
		acts, _, _ := r.Committed(nil)
		for _, act := range acts {
			if act.Publish != nil {
				told = act.Publish
			}
		}
	}
	if in, ok, _, err := r.Arrived("", frame); err == nil && ok {
		step(in)
	}
	base, _ := r.Get(k)
	if in, err := r.Admit(1, store.Write{Key: k, Base: base, Body: []byte("a lie")}); err == nil {
		step(in)
	}
	return told
}
