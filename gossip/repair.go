package gossip

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	reconcileProtocol = "/orpheus/reconcile/2"
	repairEvery       = 10 * time.Second
	reconcileTimeout  = 60 * time.Second // a large difference over a slow link; every step has shorter deadlines
	maxServed         = 2                // reconciliations served at the same time
	maxAsked          = 2                // and asked for
)

// repairing makes the replicas equal: with a peer that (re)appears at once, and with a random one every 10 s, because gossip
// may lose messages.
func (n *link) repairing(ctx context.Context) error {
	m := n.mesh
	slots := make(chan struct{}, maxAsked)
	first := time.NewTimer(readyWithin)
	defer first.Stop()
	if len(m.book.all()) == 0 {
		m.setReady()
	}
	timer := time.NewTimer(repairWait())
	defer timer.Stop()
	for {
		var id ID
		select {
		case <-ctx.Done():
			return nil
		case <-first.C:
			m.setReady()
			continue
		case id = <-m.behind:
		case <-timer.C:
			timer.Reset(repairWait())
			if id = m.randomPeer(); id == "" {
				continue
			}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		n.do(func() {
			defer func() { <-slots }()
			n.reconcile(ctx, id)
		})
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
