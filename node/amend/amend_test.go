package amend

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// contested is a replica of one object where others come first for a while.
type contested struct {
	rivals int
	writes []time.Time
	object *store.Object
	err    error
}

func (c *contested) Get(store.Key) (*store.Object, store.Revision) { return c.object, 0 }

func (c *contested) Write(_ context.Context, w store.Write) (*store.Object, error) {
	c.writes = append(c.writes, time.Now())
	switch {
	case c.err != nil:
		return nil, c.err
	case len(c.writes) <= c.rivals:
		c.object = &store.Object{Key: w.Key}
		return nil, store.ErrConflict
	case w.Base != c.object:
		return nil, errors.New("it writes against what is not there any more")
	}
	return c.object, nil
}

func TestObject(t *testing.T) {
	full := errors.New("disk full")
	for _, row := range []struct {
		name   string
		rivals int
		fails  error
		want   error
		writes int
	}{
		{name: "alone", writes: 1},
		{name: "others come first", rivals: 3, writes: 4},
		{name: "others come first for ever", rivals: 1 << 30, want: store.ErrConflict, writes: tries},
		{name: "another error", fails: full, want: full, writes: 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &contested{rivals: row.rivals, err: row.fails}
				err := Object(t.Context(), c, store.Key{Kind: "test/things", Name: "x"}, true, func(*store.Object) ([]byte, error) { return []byte("x"), nil })
				if !errors.Is(err, row.want) || len(c.writes) != row.writes {
					t.Errorf("%d writes: %v", len(c.writes), err)
				}
				for i, at := range c.writes[1:] {
					if !at.After(c.writes[i]) {
						t.Errorf("try %d came without a pause", i+2)
					}
				}
			})
		})
	}
}

func TestObjectEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
		defer cancel()
		c := &contested{rivals: 1 << 30}
		err := Object(ctx, c, store.Key{Kind: "test/things", Name: "x"}, true, func(*store.Object) ([]byte, error) { return []byte("x"), nil })
		if !errors.Is(err, context.DeadlineExceeded) || len(c.writes) == tries {
			t.Errorf("%d writes: %v", len(c.writes), err)
		}
	})
}

func TestObjectLeavesWhatIsRight(t *testing.T) {
	c := &contested{object: &store.Object{}}
	if err := Object(t.Context(), c, store.Key{}, false, func(base *store.Object) ([]byte, error) {
		if base != c.object {
			t.Error("change does not see what is there")
		}
		return nil, nil
	}); err != nil || len(c.writes) != 0 {
		t.Errorf("%d writes: %v", len(c.writes), err)
	}
}
