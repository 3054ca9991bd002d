package store

import (
	"slices"
	"strings"
)

// Get returns the object, or nil where there is none, and the store's present revision. It never waits for the disk.
func (s *replica) Get(k Key) (*Object, Revision) { return s.view.get(k) }

// List returns a page of objects sorted by namespace and name, the revision that it shows, and how many objects match
// after After, Limit aside. ErrCompacted and ErrFuture as ListOptions.At says.
func (s *replica) List(sel Selector, o ListOptions) (objs []*Object, rev Revision, total int, err error) {
	t, rev, err := s.view.state(sel.Kind, o.At)
	if err != nil {
		return nil, 0, 0, err
	}
	objs, total = list(t, sel, o)
	return objs, rev, total, nil
}

// Rev is the revision of the latest visible change.
func (s *replica) Rev() Revision {
	rev, _ := s.view.current()
	return rev
}

// Touch gives the objects that exist a new revision and emits events with unchanged parts: what is derived from them
// changed.
func (s *replica) Touch(keys ...Key) { s.view.touch(keys) }

// Siblings returns the objects with Others, sorted by key.
func (s *replica) Siblings() []*Object {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	out := make([]*Object, 0, len(s.view.others))
	for _, o := range s.view.others {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *Object) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return a.compare(b)
	})
	return out
}

// Tombstoned reports that the UID is known dead here. A UID that never was here is not.
func (s *replica) Tombstoned(uid string) bool {
	u, ok := parseUID(uid)
	if !ok {
		return false
	}
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	_, dead := s.view.dead[u]
	return dead
}

func (v *view) current() (rev, oldest Revision) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.rev, v.oldest
}
