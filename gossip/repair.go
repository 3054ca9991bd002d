package gossip

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	reconcileProtocol = "/orpheus/reconcile/2"
	repairEvery       = 10 * time.Second
)

// repairing makes the replicas equal: with a peer that (re)appears at once, and with a random one every 10 s, because gossip
// may lose messages. Until the first one is complete there is one at a time, with the nearest that waits: it may bring the
// whole store, which nobody should send twice. One that breaks off goes on where it was, with whomever.
func (n *link) repairing(ctx context.Context) error {
	m := n.mesh
	within := readyWithin
	if m.store.Forgetful() {
		within = learnWithin // what every mesh has would be made once more, under other UIDs
	}
	first := time.NewTimer(within)
	defer first.Stop()
	if len(m.book.all()) == 0 {
		m.setReady()
	}
	timer := time.NewTimer(repairWait())
	defer timer.Stop()
	queue, done, busy := newErrands(), make(chan struct{}, maxAsked), 0
	for {
		most := maxAsked
		if !m.rounds.any() {
			most = 1
		}
		for busy < most {
			id := queue.next(m.clocks.rtts())
			if id == "" {
				break
			}
			busy++
			n.do(func() {
				defer func() { done <- struct{}{} }()
				n.reconcile(ctx, id)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-first.C:
			m.setReady()
		case <-done:
			busy--
		case id := <-m.behind:
			queue.add(id)
		case <-timer.C:
			timer.Reset(repairWait())
			if id := m.randomPeer(); id != "" && busy+len(queue.waiting) == 0 {
				queue.add(id)
			}
		}
	}
}

func repairWait() time.Duration {
	return time.Duration(float64(repairEvery) * (0.75 + rand.Float64()/2))
}

func (n *link) reconcile(ctx context.Context, id ID) {
	m := n.mesh
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	s, err := n.open(ctx, id, reconcileProtocol)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
		_, err = m.store.Reconcile(ctx, s)
		stop()
		_ = s.Close()
	}
	if err != nil {
		if s != nil {
			_ = s.Reset()
		}
		m.log.Debug("could not reconcile", "peer", id, "error", err)
		m.retry(ctx, id)
		return
	}
	m.rounds.done(id)
	m.settling.done(id)
	m.setReady()
}

// retry asks again soon where somebody waits for the reconciliation with this peer.
func (m *Mesh) retry(ctx context.Context, id ID) {
	if m.settling.waitsFor(id) {
		select {
		case <-time.After(time.Second):
			m.catchUp(id)
		case <-ctx.Done():
		}
	}
}

func (n *link) serveReconcile(ctx context.Context, from ID, s Stream) {
	defer s.Close()
	select {
	case n.serving <- struct{}{}:
		defer func() { <-n.serving }()
	default:
		_ = s.Reset() // busy: the peer asks somebody else
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	if _, err := n.mesh.store.ServeReconcile(ctx, s); err != nil {
		n.mesh.log.Debug("could not serve a reconciliation", "peer", from, "error", err)
		_ = s.Reset()
	}
}

// catchUp asks for a reconciliation with this peer soon. It never blocks; a full queue is left to the random rounds.
func (m *Mesh) catchUp(id ID) {
	select {
	case m.behind <- id:
	default:
	}
}

func (m *Mesh) randomPeer() ID {
	var alive []ID
	for _, p := range m.Members() {
		if p.State == Alive && p.ID != m.self.ID() {
			alive = append(alive, p.ID)
		}
	}
	if len(alive) == 0 {
		return ""
	}
	return alive[rand.IntN(len(alive))]
}

// holders are all that may hold or miss records: who did not leave, ourselves among them.
func (m *Mesh) holders() []string {
	out := []string{string(m.self.ID())}
	for _, p := range m.Members() {
		if p.State != Left && p.ID != m.self.ID() {
			out = append(out, string(p.ID))
		}
	}
	return out
}

func (m *Mesh) setReady() { m.readyOnce.Do(func() { close(m.ready) }) }
