package sim

import (
	"io"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// scene is a history that dwells on one situation, in a small world of its own. Chance alone seldom brings it about, and where it
// does, so much else has gone wrong that the oracle must excuse what it would not here.
type scene struct {
	name string
	play func(*world)
}

var scenes = [...]scene{
	{"a crowd", (*world).crowd},
	{"silent homes", (*world).silentHomes},
	{"lost disks", (*world).lostDisks},
	{"next year", (*world).nextYear},
	{"old disks", (*world).oldDisks},
	{"echoes", (*world).echoes},
	{"young graves", (*world).youngGraves},
	{"early events", (*world).earlyEvents},
}

// encores are scenes that came later. They are played after what a seed was before, by one seed in eight, so that it stays that.
var encores = [...]scene{
	{"hasty boots", (*world).hastyBoots},
	{"old doubts", (*world).oldDoubts},
}

// newEncore makes the world of a seed's encore, or nil.
func newEncore(seed uint64, trace io.Writer) *world {
	if seed%8 != 3 {
		return nil
	}
	return encores[seed/8%uint64(len(encores))].world(seed, 0x656e636f7265, trace)
}

// newScene makes the world of a seed's scene; each scene has its turn.
func newScene(seed uint64, trace io.Writer) *world {
	return scenes[seed%uint64(len(scenes))].world(seed, 0x7363656e65, trace)
}

func (s scene) world(seed, stream uint64, trace io.Writer) *world {
	w := create(seed, stream, (*world).stage, func(w *world) {
		w.begin()
		s.play(w)
		w.quiet()
		w.judgement()
	}, trace)
	w.tell("the scene of %s", s.name)
	return w
}

func (w *world) stage() plan {
	p := plan{
		nodes: 3 + w.rnd.IntN(3), keys: 2 + w.rnd.IntN(4), latency: w.between(2*time.Millisecond, 100*time.Millisecond),
		write: 150 * time.Millisecond, fault: 700 * time.Millisecond, chaos: 6 * time.Second,
		tick: time.Second, repair: w.between(time.Second, 8*time.Second),
		limits: store.Limits{Early: 24, Held: 24, Waiting: 8}, happened: map[string]int{},
	}
	if w.chance(2) {
		p.loss = w.rnd.Float64() * 0.3
	}
	return p
}

func (w *world) idle() {}

// at lets a client of this node write, if there may be any.
func (w *world) at(n *node, k store.Key) {
	if n.up && !n.fresh {
		w.edit(n, k)
	}
}
