package gossip

import (
	"context"
	"math/rand/v2"
	"time"
)

const reconcileProtocol = "/orpheus/reconcile/2"

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
	timer := time.NewTimer(about(repairEvery))
	defer timer.Stop()
	survey := newSurvey(m.store.Forgetful())
	defer survey.end()
	queue, done, busy := newErrands(), make(chan errand, maxAsked), 0
	for {
		rtts := m.clocks.rtts()
		for most := m.together(); busy < most && survey.over(m.book.all(), rtts, len(queue.waiting) > 0); busy++ {
			id := queue.next(rtts)
			if id == "" {
				break
			}
			n.do(func() { done <- errand{id, n.reconcile(ctx, id)} })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-first.C:
			m.setReady()
		case e := <-done:
			busy--
			queue.ended(e.with, e.err)
			if e.err != nil {
				n.do(func() { m.retry(ctx, e.with) })
			}
		case id := <-m.behind:
			queue.add(id)
		case <-survey.ticks:
		case <-timer.C:
			timer.Reset(about(repairEvery))
			if id := m.randomPeer(); id != "" && busy+len(queue.waiting) == 0 {
				queue.add(id)
			}
		}
	}
}

// errand is how one reconciliation went.
type errand struct {
	with ID
	err  error
}

// together is how many reconciliations we may ask for at the same time.
func (m *Mesh) together() int {
	if m.rounds.any() {
		return maxAsked
	}
	return 1
}

// about is d, a quarter more or less, so that servers which began together do not ask together.
func about(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}

func (n *link) reconcile(ctx context.Context, id ID) error {
	n.mesh.asking.Add(1)
	defer n.mesh.asking.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	s, err := n.open(ctx, id, reconcileProtocol)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
		_, err = n.mesh.store.Reconcile(ctx, s)
		stop()
		_ = s.Close()
	}
	if err != nil {
		if s != nil {
			_ = s.Reset()
		}
		n.mesh.log.Debug("could not reconcile", "peer", id, "error", err)
		return err
	}
	n.mesh.reconciled(id)
	return nil
}

// reconciled: this node holds what the peer held, whoever asked.
func (m *Mesh) reconciled(id ID) {
	m.rounds.done(id)
	m.settling.done(id)
	m.setReady()
}

// retry asks again soon where somebody waits for the reconciliation with this peer, or we have not got the store from anybody.
func (m *Mesh) retry(ctx context.Context, id ID) {
	if !m.settling.waitsFor(id) && m.rounds.any() {
		return
	}
	select {
	case <-time.After(about(retryWait)):
		m.catchUp(id)
	case <-ctx.Done():
	}
}

// serveReconcile is the other end of reconcile. A joiner that still takes the store from somebody has nothing to tell: who would reconcile
// with it would send it the same store once more.
func (n *link) serveReconcile(ctx context.Context, from ID, s Stream) {
	defer s.Close()
	if n.mesh.learning() {
		_ = s.Reset()
		return
	}
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
		return
	}
	n.mesh.reconciled(from)
}

// learning: this server has no store yet, or not the whole. Where nobody who has it is in sight, that ends after 30 s, for nobody may be left.
func (m *Mesh) learning() bool {
	if m.rounds.any() || !m.store.Forgetful() {
		return false
	}
	select {
	case <-m.ready:
		return m.asking.Load() > 0
	default:
		return true
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

// survey is the moment in which a joiner gets to know how far away the others are.
type survey struct {
	ticks <-chan time.Time // nil when it is over
	tick  *time.Ticker
	until time.Time // zero before somebody waits
}

// newSurvey begins one where there is a store to be taken.
func newSurvey(needed bool) *survey {
	s := &survey{tick: time.NewTicker(judgeEvery)}
	s.ticks = s.tick.C
	if !needed {
		s.end()
	}
	return s
}

func (s *survey) over(peers []known, rtt map[ID]time.Duration, waiting bool) bool {
	switch {
	case s.ticks == nil:
		return true
	case !waiting:
		return false
	case s.until.IsZero():
		s.until = time.Now().Add(surveyWithin)
	}
	if surveyed(peers, rtt) || !time.Now().Before(s.until) {
		s.end()
	}
	return s.ticks == nil
}

func (s *survey) end() {
	s.tick.Stop()
	s.ticks = nil
}

func (m *Mesh) setReady() { m.readyOnce.Do(func() { close(m.ready) }) }
