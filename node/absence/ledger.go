package absence

import (
	"maps"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/placement"
)

// forgetAfter is when a failure is forgotten: long after it can still damp.
const forgetAfter = time.Hour

// ledger is the memory, and pure: what is seen and the time come as arguments. Seeing the same twice changes nothing.
type ledger struct {
	damping placement.Damping
	brake   placement.Brake
	members []gossip.Member // as last seen
	away    map[gossip.ID]*absent
	flaps   map[string]placement.Flaps // by server name
	storms  []Storm
}

// absent is a server that is out of sight.
type absent struct {
	since   time.Time // when it was first suspected
	counted bool      // as a flap
	due     bool      // it is given up: stays so until it is back
}

func newLedger() *ledger {
	return &ledger{damping: placement.DefaultDamping(), brake: placement.DefaultBrake(), away: map[gossip.ID]*absent{}, flaps: map[string]placement.Flaps{}}
}

// see takes in what the mesh says of its members. In doubt (this server is slow, or misses most of the others) a failure is no
// flap of the other's, or not yet.
func (l *ledger) see(members []gossip.Member, now time.Time, doubt bool) {
	l.members = members
	here := map[gossip.ID]bool{}
	for _, m := range members {
		if m.State == gossip.Alive || m.State == gossip.Left {
			continue
		}
		here[m.ID] = true
		a := l.away[m.ID]
		if a == nil {
			a = &absent{since: m.Since}
			l.away[m.ID] = a
		}
		if m.State == gossip.Failed && !a.counted && !doubt {
			a.counted = true
			l.flaps[m.Name] = l.damping.Lost(l.flaps[m.Name], now)
		}
	}
	maps.DeleteFunc(l.away, func(id gossip.ID, _ *absent) bool { return !here[id] })
	maps.DeleteFunc(l.flaps, func(_ string, f placement.Flaps) bool { return now.Sub(f.At) > forgetAfter })
	l.giveUp(now)
}

// learn takes in what another server remembers; of each server of the mesh the worse word counts.
func (l *ledger) learn(told map[string]placement.Flaps, now time.Time) {
	for _, m := range l.members {
		name := m.Name
		f, is := told[name]
		if !is {
			continue
		}
		if f.At.After(now) {
			f.At = now
		}
		f.Penalty = min(max(f.Penalty, 0), l.damping.Ceiling)
		if l.damping.Aged(f, now).Penalty > l.damping.Aged(l.flaps[name], now).Penalty {
			l.flaps[name] = f
		}
	}
}

// flapping are the servers that are a last resort, with the times until when. When they are more than half of the mesh it is
// not they that flap but what lies between: then nobody is one.
func (l *ledger) flapping(now time.Time) map[string]time.Time {
	out := map[string]time.Time{}
	size := 0
	for _, m := range l.members {
		if m.State == gossip.Left {
			continue
		}
		size++
		if f, is := l.flaps[m.Name]; is {
			if until := l.damping.Until(f, now); !until.IsZero() {
				out[m.Name] = until
			}
		}
	}
	if 2*len(out) > size {
		return nil
	}
	return out
}

// next is when something changes though nothing happens; zero: never.
func (l *ledger) next(now time.Time) (at time.Time) {
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, t := range l.flapping(now) {
		sooner(t)
	}
	for _, s := range l.storms {
		sooner(s.Next)
	}
	return at
}

// standing says of every server that is a last resort or not given up yet in which way.
func (l *ledger) standing(now time.Time) map[string]string {
	out := map[string]string{}
	for name := range l.flapping(now) {
		out[name] = Flapping
	}
	for _, s := range l.storms {
		for _, name := range s.Waiting {
			out[name] = s.Domain
		}
	}
	return out
}
