package gossip

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// clocks holds by how much the peers' wall clocks are ahead of ours, as the checks measured it.
type clocks struct {
	mu      sync.Mutex // guards what follows
	offsets map[ID]time.Duration
	trips   map[ID]time.Duration // how long the last check took
}

func newClocks() *clocks {
	return &clocks{offsets: make(map[ID]time.Duration), trips: make(map[ID]time.Duration)}
}

// clockOffset assumes that the far clock was read half way between sent and received (Cristian 1989).
func clockOffset(sent, received, theirs time.Time) time.Duration {
	return theirs.Round(0).Sub(sent.Add(received.Sub(sent) / 2).Round(0))
}

func (c *clocks) note(id ID, offset time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offsets[id] = offset
}

// took notes how long a peer's answer took.
func (c *clocks) took(id ID, trip time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trips[id] = trip
}

// seems notes how long a hello took, which stands for a check until there is one.
func (c *clocks) seems(id ID, trip time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.trips[id]; !ok {
		c.trips[id] = trip
	}
}

func (c *clocks) rtts() map[ID]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.trips)
}

func (c *clocks) drop(id ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.offsets, id)
	delete(c.trips, id)
}

// fit returns why this node's clock must not date records, or nil. A single peer's word does not stop us: with two clocks
// nobody knows which one is wrong.
func (c *clocks) fit() error {
	c.mu.Lock()
	offsets := make([]time.Duration, 0, len(c.offsets)+1)
	for _, o := range c.offsets {
		offsets = append(offsets, o)
	}
	c.mu.Unlock()
	if len(offsets) < 2 {
		return nil
	}
	slices.Sort(offsets)
	median := offsets[len(offsets)/2]
	if len(offsets)%2 == 0 {
		median = offsets[len(offsets)/2-1]/2 + offsets[len(offsets)/2]/2 // their sum may be too much for a Duration
	}
	if median.Abs() <= maxOffset {
		return nil
	}
	word := "behind"
	if median < 0 {
		word = "ahead of"
	}
	return fmt.Errorf("this host's clock is %s %s its peers': set it (chronyd, systemd-timesyncd or `date`)",
		median.Abs().Round(time.Second), word)
}
