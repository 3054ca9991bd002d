package replica

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

func TestDecodedCacheForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDecodedCache(1 << 20)
		object := func(i int) *store.Object {
			return &store.Object{Key: store.Key{Kind: "core/pods", Name: fmt.Sprint(i)}, Rev: 7}
		}
		for i := range 100 {
			c.put(&decoded{stored: object(i)})
		}
		time.Sleep(unused)
		if c.get(object(3)) == nil {
			t.Fatal("what was decoded a minute ago is not there")
		}
		time.Sleep(time.Second)
		c.put(&decoded{stored: object(100)})
		if c.get(object(3)) == nil || c.get(object(100)) == nil {
			t.Error("what was used a second ago is not there")
		}
		if n := c.order.Len(); n != 2 || len(c.byKey) != n || c.size != 2*cost(object(0)) {
			t.Errorf("%d objects, %d places, size %d", n, len(c.byKey), c.size)
		}
		for i := range 5000 { // bounded by size, too
			c.put(&decoded{stored: object(1000 + i)})
		}
		if c.size > c.bound || len(c.byKey) != c.order.Len() || c.get(object(5999)) == nil {
			t.Errorf("size %d of %d", c.size, c.bound)
		}
	})
}
