package sim

import (
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// plan is what a seed decides before anything happens.
type plan struct {
	nodes, keys int
	latency     time.Duration
	loss        float64
	repeat      float64
	write       time.Duration // between two writes
	fault       time.Duration // between two faults
	chaos       time.Duration
	rounds      int // of chaos, with an absence between two
	tick        time.Duration
	repair      time.Duration
	limits      store.Limits
	liar        bool

	jumped    bool // a clock was wrong
	leapt     bool // a clock was a year ahead
	forgot    bool // a disk was lost, and its node keeps its name
	converged time.Duration
	happened  map[string]int
}

func (w *world) draw() plan {
	p := plan{
		nodes: 3 + w.rnd.IntN(4), keys: 3 + w.rnd.IntN(5), latency: w.between(2*time.Millisecond, 200*time.Millisecond),
		write: w.between(150*time.Millisecond, 600*time.Millisecond), fault: w.between(time.Second, 6*time.Second),
		chaos: w.between(30*time.Second, 80*time.Second), rounds: 1, tick: time.Second, repair: 10 * time.Second,
		limits: store.Limits{Early: 24, Held: 24, Waiting: 8}, happened: map[string]int{},
	}
	if w.chance(10) {
		p.nodes = 7 + w.rnd.IntN(24)
		p.chaos /= 3
	}
	if w.chance(2) {
		p.loss, p.repeat = w.rnd.Float64()*0.3, w.rnd.Float64()*0.2
	}
	if w.chance(2) {
		p.rounds = 2
	}
	p.liar = w.chance(3)
	return p
}
