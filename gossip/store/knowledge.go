package store

import (
	"slices"
	"strings"
)

// knowledge is what the author of an intent knew of the object's history, one entry per actor, sorted by actor. Both
// numbers are counters of that actor's dots on this UID, each a version vector of its own:
//
//   - seen: the greatest dot that the author had merged. The home's compare-and-swap asks it.
//   - human: the greatest human edit that this record answers for. A machine's write answers only for what executed when
//     it was made: it has seen the siblings, but must not settle them. A person's write answers for all that was shown.
//
// The dots of one actor's human edits are totally ordered by causality (a person's write answers for everything that its
// node shows), so a maximum per actor describes the set exactly.
type knowledge []known

type known struct {
	actor       string
	seen, human uint64
	raised      uint64 // by how much the actor raised the object's generation in all (register.go)
	wrote       uint64 // how often it wrote the object
}

func (k knowledge) of(actor string) known {
	i, ok := k.find(actor)
	if !ok {
		return known{actor: actor}
	}
	return k[i]
}

func (k knowledge) find(actor string) (int, bool) {
	return slices.BinarySearchFunc(k, actor, func(e known, a string) int { return strings.Compare(e.actor, a) })
}

// with returns k with one entry raised; k stays as it is.
func (k knowledge) with(actor string, seen, human uint64) knowledge {
	i, ok := k.find(actor)
	out := slices.Clone(k)
	if !ok {
		return slices.Insert(out, i, known{actor: actor, seen: seen, human: human})
	}
	out[i].seen, out[i].human = max(out[i].seen, seen), max(out[i].human, human)
	return out
}

// below returns k without what it says of dots of d's actor that are not before d: somebody made them up.
func (k knowledge) below(d Dot) knowledge {
	i, ok := k.find(d.Actor)
	if !ok || k[i].seen < d.N && k[i].human < d.N {
		return k
	}
	out := slices.Clone(k)
	out[i].seen, out[i].human = min(out[i].seen, d.N-1), min(out[i].human, d.N-1)
	return out
}

// count returns k with the actor's counters raised; the actor is in k.
func (k knowledge) count(actor string, raised, wrote uint64) knowledge {
	i, ok := k.find(actor)
	if !ok || raised <= k[i].raised && wrote <= k[i].wrote {
		return k
	}
	out := slices.Clone(k)
	out[i].raised, out[i].wrote = max(out[i].raised, raised), max(out[i].wrote, wrote)
	return out
}

// counts are the sums over all actors.
func (k knowledge) counts() (raised, wrote int64) {
	for _, e := range k {
		raised, wrote = raised+int64(e.raised), wrote+int64(e.wrote)
	}
	return raised, wrote
}

// join is the entrywise maximum; human counters of o count only where answers is set.
func (k knowledge) join(o knowledge, answers bool) knowledge {
	out := k
	for _, e := range o {
		if !answers {
			e.human = 0
		}
		out = out.with(e.actor, e.seen, e.human).count(e.actor, e.raised, e.wrote)
	}
	return out
}

// sees reports that every dot seen by o was seen by k.
func (k knowledge) sees(o knowledge) bool {
	for _, e := range o {
		if e.seen > k.of(e.actor).seen {
			return false
		}
	}
	return true
}

// humanCompare orders two sets of human edits by inclusion.
func (k knowledge) humanCompare(o knowledge) inclusion {
	return inclusion{kInO: !k.humanBeyond(o), oInK: !o.humanBeyond(k)}
}

type inclusion struct{ kInO, oInK bool }

func (k knowledge) humanBeyond(o knowledge) bool {
	for _, e := range k {
		if e.human > 0 && e.human > o.of(e.actor).human {
			return true
		}
	}
	return false
}
