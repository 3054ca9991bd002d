package store

import (
	"slices"
	"strings"
)

// row is what the view keeps of an object. Nearly always that is one version of one life, and then the object is made of its
// records anew for everybody who asks, in less than a microsecond: kept, it would take several times as much memory. A row is immutable.
type row struct {
	rev, created Revision
	sole         [Parts]*Record // all that there is, by part
	whole        *Object        // instead, where versions or lives stand side by side
}

func (r *row) key() *Key {
	if r.whole != nil {
		return &r.whole.Key
	}
	return &r.sole[Intent].Key
}

func (r *row) compare(o *row) int {
	k, l := r.key(), o.key()
	if c := strings.Compare(k.Namespace, l.Namespace); c != 0 {
		return c
	}
	return strings.Compare(k.Name, l.Name)
}

func (r *row) weight() sum { return sum{} }

// probe finds what stands at k.
func probe(k Key) *row { return &row{whole: &Object{Key: k}} }

// object is what readers get; nil of no row.
func (r *row) object() *Object {
	switch {
	case r == nil:
		return nil
	case r.whole != nil:
		return r.whole
	}
	exec := r.sole[Intent]
	o := exec.show(r.sole)
	o.Rev, o.Created = r.rev, r.created
	o.Head, o.version = headOf(r.sole[:1]).public(), r.version()
	return o
}

func (r *row) version() []Dot {
	if r.whole != nil {
		return r.whole.version
	}
	out := make([]Dot, 0, 1)
	for _, rec := range r.sole {
		if rec != nil {
			out = append(out, rec.Dot)
		}
	}
	return out
}

// bodies are parts of the records' own bytes.
func (r *row) bodies() (out [Parts][]byte) {
	if r.whole != nil {
		return r.whole.Bodies
	}
	for p, rec := range r.sole {
		if rec != nil {
			out[p] = rec.Body
		}
	}
	return out
}

func (r *row) sameLife(o *row) bool {
	if r.whole == nil && o.whole == nil {
		return r.sole[Intent].UID == o.sole[Intent].UID
	}
	return r.object().UID == o.object().UID
}

// same reports that two rows show the same but for their revisions.
func (r *row) same(o *row) bool { return r.sameLife(o) && slices.Equal(r.version(), o.version()) }

// at is the row with other revisions.
func (r *row) at(rev, created Revision) *row {
	next := &row{rev: rev, created: created, sole: r.sole}
	if r.whole != nil {
		o := *r.whole
		o.Rev, o.Created = rev, created
		next.whole = &o
	}
	return next
}

// change is one entry of the view's log: what came in the place of what.
type change struct {
	rev      Revision
	old, new *row
}

func (c change) key() Key {
	if c.new != nil {
		return *c.new.key()
	}
	return *c.old.key()
}

func (c change) event() Event { return Event{c.rev, c.old.object(), c.new.object()} }

// weigh is what the change alone keeps in memory: the bodies that it replaced.
func (c change) weigh() int {
	n := 512
	if c.old == nil {
		return n
	}
	var now [Parts][]byte
	if c.new != nil {
		now = c.new.bodies()
	}
	for p, b := range c.old.bodies() {
		if kept := len(b) > 0 && len(now[p]) > 0 && &b[0] == &now[p][0]; !kept {
			n += len(b)
		}
	}
	return n
}
