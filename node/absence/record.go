package absence

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/placement"
)

// Bounds of asking others what they remember.
const (
	mostAsked = 3 // of the servers that come into sight together
	askWithin = 5 * time.Second
)

// Reasons of what is told, as in events.
const (
	Flapping = "Flapping"
	Steady   = "Steady"
	Delayed  = "ReplacementDelayed"
	Resumed  = "ReplacementResumed"
)

// Config is what a Record needs. Its functions are called often; they must be cheap and must not call back.
type Config struct {
	// Members are all servers of the mesh and how they are seen, as gossip.Mesh.Members.
	Members func() []gossip.Member
	// Changed wakes after any change of Members.
	Changed <-chan struct{}
	// Doubt tells that this server should not believe now that others are lost.
	Doubt func() bool
	// Ask returns what another server remembers (Memory there). It must end with its context.
	Ask func(context.Context, gossip.ID) (map[string]placement.Flaps, error)
	// Tell is told of a server whose standing changed, and must not block: it is now damped, or steady again; given up later,
	// or now.
	Tell func(server, reason, message string)
	Log  *slog.Logger
}

// Record is this server's memory of absences. Safe for concurrent use; Run keeps it up to date.
type Record struct {
	config Config

	mu       sync.Mutex // guards what is below
	ledger   *ledger
	watchers []chan struct{}
}

// New starts nothing.
func New(c Config) *Record { return &Record{config: c, ledger: newLedger()} }

// Watch gives a channel that holds a wake after every change of Config.Members, and after any change of what Flapping and
// Held answer. To be called before Run.
func (r *Record) Watch() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan struct{}, 1)
	r.watchers = append(r.watchers, c)
	return c
}

// Flapping are the servers that get new pods only where nothing else can take them, because they came and went too often, with
// the times until when.
func (r *Record) Flapping() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ledger.flapping(time.Now())
}

// Memory is what this server remembers, for another that asks.
func (r *Record) Memory() map[string]placement.Flaps {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.ledger.flaps)
}

// Run looks at the members until ctx ends.
func (r *Record) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asks, learnt := make(chan gossip.ID, mostAsked), make(chan struct{}, 1)
	asking.Go(func() { r.ask(ctx, asks, learnt) })
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	said := map[string]string{}
	alive := map[gossip.ID]bool{}
	changed := r.config.Changed
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-changed:
			if !open {
				changed = nil
			}
		case <-learnt:
		case <-alarm.C:
		}
		members, standing, next := r.look(time.Now())
		if !next.IsZero() {
			alarm.Reset(time.Until(next))
		}
		for _, c := range r.watchers {
			select {
			case c <- struct{}{}:
			default:
			}
		}
		r.report(said, standing)
		said = standing
		asked := 0
		for _, m := range members {
			if m.State == gossip.Alive && !alive[m.ID] && asked < mostAsked {
				select {
				case asks <- m.ID:
					asked++
				default: // enough wait for their turn
				}
			}
			alive[m.ID] = m.State == gossip.Alive
		}
	}
}

func (r *Record) look(now time.Time) (members []gossip.Member, standing map[string]string, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.see(r.config.Members(), now, r.config.Doubt())
	return r.ledger.members, r.ledger.standing(now), r.ledger.next(now)
}

// ask learns from servers what they remember. One that was away itself, or whose daemon has just started, remembers nothing of
// what all others know: above all that it is the one that flaps.
func (r *Record) ask(ctx context.Context, ids <-chan gossip.ID, learnt chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-ids:
			call, cancel := context.WithTimeout(ctx, askWithin)
			told, err := r.config.Ask(call, id)
			cancel()
			if err != nil {
				r.config.Log.Debug("a server does not say which others it saw come and go", "server", id, "err", err)
				continue
			}
			r.mu.Lock()
			r.ledger.learn(told, time.Now())
			r.mu.Unlock()
			select {
			case learnt <- struct{}{}:
			default:
			}
		}
	}
}

// report tells what is new in now.
func (r *Record) report(before, now map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if before[name] == now[name] {
			continue
		}
		if now[name] == Flapping {
			r.config.Tell(name, Flapping, "It was lost and came back too often lately: for some minutes it gets new pods only where nothing else can take them")
			continue
		}
		r.config.Tell(name, Delayed, "Much of "+now[name]+" was lost at once: its servers are given up one after the other, and this one's pods are not replaced yet")
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if now[name] != "" {
			continue
		}
		if before[name] == Flapping {
			r.config.Tell(name, Steady, "It gets new pods like any other again")
		} else {
			r.config.Tell(name, Resumed, "Nothing holds back the replacements of its pods any more ("+before[name]+" was lost at once)")
		}
	}
}
