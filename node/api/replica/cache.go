package replica

import (
	"container/list"
	"sync"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// decodedCache keeps the objects that were decoded last, so that the watchers and lists of one change decode it once. Its
// size is bounded by the encoded size of what it holds; and what nobody asked for in a minute goes with the next that comes,
// for a decoded object takes several times its encoded size, and most of them are of versions that are no more.
type decodedCache struct {
	mu    sync.Mutex // guards what follows
	bound int
	size  int
	order *list.List // of *entry, the most recently used first
	byKey map[place]*list.Element
}

type entry struct {
	*decoded
	used time.Time
}

const unused = time.Minute

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
	found := e.Value.(*entry)
	found.used = time.Now()
	return found.decoded
}

func (c *decodedCache) put(d *decoded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := place{d.stored.Key, d.stored.Rev}
	if _, ok := c.byKey[p]; ok {
		return
	}
	now := time.Now()
	c.byKey[p] = c.order.PushFront(&entry{d, now})
	c.size += cost(d.stored)
	for c.order.Len() > 1 {
		last := c.order.Back().Value.(*entry)
		if c.size <= c.bound && now.Sub(last.used) <= unused {
			return
		}
		c.order.Remove(c.order.Back())
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
