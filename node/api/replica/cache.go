package replica

import (
	"container/list"
	"sync"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// decodedCache keeps the objects that were decoded last, so that the watchers and lists of one change decode it once. Its
// size is bounded by the encoded size of what it holds.
type decodedCache struct {
	mu    sync.Mutex // guards what follows
	bound int
	size  int
	order *list.List // of *decoded, the most recently used first
	byKey map[place]*list.Element
}

// place is one version of one object.
type place struct {
	key store.Key
	rev store.Revision
}

func newDecodedCache(bound int) *decodedCache {
	return &decodedCache{bound: bound, order: list.New(), byKey: map[place]*list.Element{}}
}

func (c *decodedCache) get(o *store.Object) *decoded {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[place{o.Key, o.Rev}]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*decoded)
}

func (c *decodedCache) put(d *decoded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := place{d.stored.Key, d.stored.Rev}
	if _, ok := c.byKey[p]; ok {
		return
	}
	c.byKey[p] = c.order.PushFront(d)
	c.size += cost(d.stored)
	for c.size > c.bound && c.order.Len() > 1 {
		e := c.order.Back()
		last := c.order.Remove(e).(*decoded)
		delete(c.byKey, place{last.stored.Key, last.stored.Rev})
		c.size -= cost(last.stored)
	}
}

func cost(o *store.Object) int {
	n := 256
	for _, b := range o.Bodies {
		n += len(b)
	}
	return n
}
