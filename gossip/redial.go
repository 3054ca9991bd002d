package gossip

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// redialWait is how long to wait before the next attempt to reach a peer that has been out of sight for so long: quick
// while the loss is news, and for ever after at most a minute apart, so that partitions of any length heal.
func redialWait(absent time.Duration, jitter float64) time.Duration {
	wait := time.Minute
	switch {
	case absent < 10*time.Minute:
		wait = 1500 * time.Millisecond
	case absent < 24*time.Hour:
		wait = 12 * time.Second
	}
	return time.Duration(float64(wait) * (0.75 + jitter/2))
}

// redialing dials every known peer that serf does not have and that did not leave.
func (n *link) redialing(ctx context.Context) error {
	r := redialer{link: n, busy: make(map[ID]bool), next: make(map[ID]time.Time), started: time.Now()}
	ticker := time.NewTicker(redialTick)
	defer ticker.Stop()
	for {
		for _, k := range n.absent() {
			if r.claim(k.ID, time.Now()) {
				n.do(func() {
					defer r.release(k.ID)
					n.redial(ctx, k)
				})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// redialer knows whom it dials at the moment and when each is due again.
type redialer struct {
	link    *link
	started time.Time

	mu   sync.Mutex // guards what follows
	busy map[ID]bool
	next map[ID]time.Time
}

// claim takes a peer that is due, unless enough dials are under way.
func (r *redialer) claim(id ID, now time.Time) bool {
	absent := now.Sub(r.started)
	if since, ok := r.link.mesh.absentSince(id); ok {
		absent = now.Sub(since)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[id] || len(r.busy) >= maxRedials || now.Before(r.next[id]) {
		return false
	}
	r.busy[id], r.next[id] = true, now.Add(redialWait(absent, rand.Float64()))
	return true
}

func (r *redialer) release(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, id)
}

// absent are the known peers that should be in serf and are not.
func (n *link) absent() []known {
	alive := make(map[ID]bool)
	for _, node := range n.serf.Memberlist().Members() {
		alive[ID(node.Name)] = true
	}
	var out []known
	for _, k := range n.mesh.book.all() {
		if !k.Left && !alive[k.ID] && k.ID != n.mesh.self.ID() && k.Addr.IsValid() {
			out = append(out, k)
		}
	}
	return out
}

// redial reaches a peer over libp2p first, so that nothing is sent to whoever has its address now, then tells serf.
func (n *link) redial(ctx context.Context, k known) {
	ctx, cancel := context.WithTimeout(ctx, redialTimeout)
	defer cancel()
	if err := n.reach(ctx, k); err != nil {
		n.mesh.log.Debug("redial failed", "peer", k.ID, "name", k.Name, "addr", k.Addr, "error", err)
		return
	}
	if err := n.ask(ctx, k.ID); err != nil { // a connection may be a leftover that nobody answers on
		n.mesh.log.Debug("redialled peer does not answer", "peer", k.ID, "name", k.Name, "error", err)
		n.hangUp(k.ID)
		return
	}
	n.tell(met{k.ID})
	n.tell(heard{k.ID})
	if _, err := n.serf.Join([]string{string(k.ID) + "/" + k.Addr.String()}, true); err != nil {
		n.mesh.log.Debug("serf could not join a peer", "peer", k.ID, "name", k.Name, "error", err)
	}
}

// hangUp closes all connections to a peer: those that outlived it would swallow what is sent.
func (n *link) hangUp(id ID) {
	pid, err := peer.Decode(string(id))
	if err != nil {
		return
	}
	n.do(func() { _ = n.host.Network().ClosePeer(pid) })
}

func (m *Mesh) absentSince(id ID) (time.Time, bool) {
	for _, member := range m.Members() {
		if member.ID == id && member.State == Failed {
			return member.Since, true
		}
	}
	return time.Time{}, false
}
