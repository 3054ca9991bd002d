package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
)

// Record is one signed change of one part of one object. Records are immutable once they were sealed or decoded; the
// exact signed bytes are what is stored, hashed, compared and relayed.
type Record struct {
	Key
	Part  Part
	Op    Op
	Human bool
	Claim bool // of something that only one may have: the oldest stays
	UID   UID
	Dot   Dot // the author and its counter
	Stamp Stamp
	Basis Basis // the person's edit that this record builds on; its own dot and stamp where Human; zero for none
	Root  Key
	Body  []byte
	Born  Stamp // Intent only: of the creation of the life

	context knowledge // Intent only; own dot not included
	raised  uint64    // the author's own part of the generation, this write included
	wrote   uint64    // how often the author wrote the object, this write included
	head    head      // Intent only
	msg     []byte    // the exact signed bytes
	sig     []byte
	hash    hash // of msg
}

// Basis names a person's edit.
type Basis struct {
	Dot   Dot
	Stamp Stamp
}

type hash [32]byte

// complete fills in what follows from the rest.
func (r *Record) complete() *Record {
	if r.Human {
		r.Basis = Basis{r.Dot, r.Stamp}
	}
	if r.Born == 0 && len(r.context) == 0 {
		r.Born = r.Stamp
	}
	return r
}

// after is what the author knew once r was written: the context and its own dot. It is made whenever it is asked for, since it would be
// a fifth of what a record takes in memory besides its bytes.
func (r *Record) after() knowledge {
	human := uint64(0)
	if r.Human {
		human = r.Dot.N
	}
	return r.context.with(r.Dot.Actor, r.Dot.N, human).count(r.Dot.Actor, r.raised, r.wrote)
}

// counts are the sums over all actors that the author knew once r was written.
func (r *Record) counts() (raised, wrote int64) {
	own := r.context.of(r.Dot.Actor)
	raised, wrote = r.context.counts()
	return raised - int64(own.raised) + int64(max(own.raised, r.raised)), wrote - int64(own.wrote) + int64(max(own.wrote, r.wrote))
}

// compare orders records by time, then hash: the order of reconciliation, of the disk and of the purge.
func (r *Record) compare(o *Record) int {
	if c := cmp.Compare(r.Stamp, o.Stamp); c != 0 {
		return c
	}
	return bytes.Compare(r.hash[:], o.hash[:])
}

// newer is the order of last-writer-wins parts: stamp, dot, and the hash where an actor's counter was used twice (a cloned
// disk), so that replicas agree even then.
func (r *Record) newer(o *Record) bool {
	return cmp.Or(cmp.Compare(r.Stamp, o.Stamp), r.Dot.compare(o.Dot), bytes.Compare(r.hash[:], o.hash[:])) > 0
}

// born is when the life was created, as far as the record tells.
func (r *Record) born() Stamp {
	if r.Born == 0 {
		return r.Stamp // written by a version that did not say
	}
	return r.Born
}

func (r *Record) weight() sum {
	var s sum
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(r.hash[8*i:])
	}
	return s
}

func (r *Record) size() int { return len(r.msg) + len(r.sig) + 8 }
