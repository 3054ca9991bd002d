package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Write applies one change and returns the view afterwards, for a Delete the last one before; a Put that somebody's delete
// followed before it was answered returns what it made. It returns once the change is on disk here, and at the home where another node serialises the object. ErrConflict, ErrExists, ErrGone: nothing was
// changed and Get shows why. ErrReadOnly, and an ended ctx: the change may still come about.
func (s *Store) Write(ctx context.Context, w Write) (*Object, error) {
	ev, err := s.admit(&w)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", w.Op, w.Key, err)
	}
	r, err := s.ask(ctx, ev)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", w.Op, w.Key, err)
	}
	return r.Object, nil
}

// outcome is what a put made of its base, by itself.
func (w *Write) outcome(r *Record) *Object {
	o := Object{Root: r.Root}
	if w.Base != nil {
		o = *w.Base
	}
	o.Key, o.UID = w.Key, r.UID.String()
	o.Bodies[w.Part] = w.Body
	if w.Part == Intent {
		o.Human, o.Author, o.Head = r.Human, r.Dot.Actor, r.head.public()
	}
	return &o
}

// admit makes a write an input, or refuses what needs no look at the store.
func (r *replica) admit(w *Write) (event, error) {
	ev := event{write: w}
	if w.Base != nil {
		ev.base = w.Base.version
	}
	if err := w.check(); err != nil {
		return event{}, err
	}
	if r.cfg.Class(w.Key) != Durable {
		return ev, nil
	}
	if r.cfg.Fit != nil {
		if err := r.cfg.Fit(); err != nil {
			return event{}, fmt.Errorf("%w: %w", ErrReadOnly, err)
		}
	}
	return ev, r.Health()
}

func (w *Write) check() error {
	if err := w.Key.check(); err != nil {
		return err
	}
	if w.Root != (Key{}) {
		if err := w.Root.check(); err != nil {
			return fmt.Errorf("root: %w", err)
		}
	}
	switch {
	case len(w.Body) > MaxBody:
		return fmt.Errorf("%d bytes: %w", len(w.Body), ErrTooLarge)
	case len(w.Head.Removed) > maxRemoved:
		return fmt.Errorf("%d removed finalizers, at most %d: %w", len(w.Head.Removed), maxRemoved, ErrTooLarge)
	case w.Part >= Parts || w.Part != Intent && w.Op != Put:
		return errors.New("a status or observation can only be put")
	}
	for _, name := range w.Head.Removed {
		if len(name) > maxField {
			return fmt.Errorf("removed finalizer of %d bytes, at most %d: %w", len(name), maxField, ErrTooLarge)
		}
	}
	return nil
}

func (o Op) String() string {
	if o == Delete {
		return "delete"
	}
	return "put"
}

func (k Key) String() string {
	return strings.Join([]string{k.Kind, k.Namespace, k.Name}, " ")
}
