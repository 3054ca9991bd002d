package gossip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	hserf "github.com/hashicorp/serf/serf"
	"golang.org/x/sync/errgroup"
)

// Run connects this server to the mesh and drives everything, the store included, until ctx ends (nil) or something fails
// that it cannot live without. It returns when all its goroutines have ended, and can be called once.
func (m *Mesh) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	n, err := m.connect(work)
	if err != nil {
		return errors.Join(fmt.Errorf("run mesh: %w", err), m.store.Close())
	}
	group, running := errgroup.WithContext(work)
	group.Go(func() error { return m.store.Run(running) })
	m.awaitStore(running)
	group.Go(func() error { return n.judging(running) })
	group.Go(func() error { return n.redialing(running) })
	group.Go(func() error { return n.repairing(running) })
	group.Go(func() error { return n.spread.run(running) })
	group.Go(func() error { return n.housekeeping(running) })
	group.Go(func() error { return n.banning(running) })
	if m.cfg.MDNS {
		group.Go(func() error { return n.looking(running) })
	}
	m.publish(n)
	m.log.Info("mesh is up", "peer", m.self.ID(), "name", m.cfg.Name, "mesh", m.keys.MeshID,
		"listen", m.cfg.Listen, "advertise", m.advertise, "known", len(m.book.all()))
	select {
	case <-ctx.Done():
		if !m.hasLeft() {
			n.farewell(restarting)
		}
	case <-running.Done():
	}
	m.publish(nil)
	stop()
	err = errors.Join(n.end(), group.Wait(), m.book.save())
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("run mesh: %w", err)
	}
	return nil
}

// Close releases the store's file of a Mesh that never ran; after Run it does nothing.
func (m *Mesh) Close() error { return m.store.Close() }

func (m *Mesh) publish(n *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.net = n
	if n != nil {
		for p, h := range m.handlers {
			n.register(p, h)
		}
	}
}

func (m *Mesh) hasLeft() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left
}

// judging is the one owner of the judge: it feeds it serf's events, the answers to its checks and the time.
func (n *link) judging(ctx context.Context) error {
	m := n.mesh
	j := newJudge(m.self.ID(), time.Now())
	pending, unmet := newPending(), make(map[ID]serfMember)
	n.recall(j)
	m.repaint(j)
	ticker := time.NewTicker(judgeEvery)
	defer ticker.Stop()
	for {
		var e evidence
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			e = tick{score: n.serf.Memberlist().GetHealthScore()}
		case e = <-n.evidence:
		case raw := <-n.events:
			n.serfSays(j, unmet, raw)
			continue
		}
		n.conclude(j, pending, j.Step(time.Now(), e))
		if e, ok := e.(met); ok { // what serf said of it before it proved to be a member
			if s, ok := unmet[e.peer]; ok {
				delete(unmet, e.peer)
				n.hinted(j, s)
			}
		}
	}
}

// recall tells the judge of the peers of earlier lives.
func (n *link) recall(j *judge) {
	for _, k := range n.mesh.book.all() {
		if k.Left || k.Name == n.mesh.cfg.Name { // who had our name before us is gone
			j.Step(time.Now(), departed{k.ID})
			continue
		}
		if k.Lost {
			j.Step(time.Now(), met{k.ID})
		} else {
			j.Step(time.Now(), awaited{k.ID})
		}
		n.mesh.settling.regained(k.ID, time.Now()) // it may have written while we were away
	}
}

// serfMember is what serf says of one member.
type serfMember struct {
	known
	hint hint
}

// serfSays translates serf's events to hints. Whoever holds serf's key can make it say anything, so a member is somebody who
// showed a certificate: one that serf alone knows is dialed, and not spoken of until it has.
func (n *link) serfSays(j *judge, unmet map[ID]serfMember, raw hserf.Event) {
	e, ok := raw.(hserf.MemberEvent)
	if !ok {
		return
	}
	hint, ok := map[hserf.EventType]hint{hserf.EventMemberJoin: hintAlive, hserf.EventMemberUpdate: hintAlive,
		hserf.EventMemberFailed: hintFailed, hserf.EventMemberLeave: hintLeft}[e.Type]
	if !ok {
		return
	}
	for _, member := range e.Members {
		k, ok := memberOf(member)
		if k.ID == n.mesh.self.ID() || n.mesh.Evicted(k.ID) || !ok && hint == hintAlive {
			continue
		}
		n.mesh.log.Debug("serf hints", "peer", member.Name, "event", e.Type.String())
		k.Name = "" // the certificate says it
		s := serfMember{k, hint}
		if _, ok := n.mesh.book.get(k.ID); ok {
			n.hinted(j, s)
		} else if len(unmet) < maxUnmet || unmet[k.ID].ID != "" {
			unmet[k.ID] = s
			n.introduce(k, hint)
		}
	}
}

// hinted hands the judge what serf says of a member that is known.
func (n *link) hinted(j *judge, s serfMember) {
	if s.hint == hintAlive {
		n.mesh.book.learn(s.known)
		n.place(s.ID, s.Addr)
	}
	n.conclude(j, nil, j.Step(time.Now(), hinted{s.ID, s.hint}))
}

// introduce dials somebody whom serf alone knows; the hello does the rest.
func (n *link) introduce(k known, h hint) {
	if h != hintAlive {
		return
	}
	select {
	case n.introducing <- struct{}{}:
	default:
		return // it dials us itself: it learned of us when it joined
	}
	n.do(func() {
		defer func() { <-n.introducing }()
		ctx, cancel := context.WithTimeout(n.ctx, redialTimeout)
		defer cancel()
		if err := n.reach(ctx, k); err != nil {
			n.mesh.log.Debug("somebody whom serf knows does not prove to be a member", "peer", k.ID, "addr", k.Addr, "error", err)
		}
	})
}

// conclude carries out what the judge decided.
func (n *link) conclude(j *judge, p *pending, v verdicts) {
	m := n.mesh
	for _, id := range v.check {
		if p != nil && p.add(id) {
			n.do(func() {
				defer p.done(id)
				n.check(id)
			})
		}
	}
	for _, c := range v.changed {
		n.turned(c)
	}
	if len(v.changed) > 0 || v.turned {
		m.repaint(j)
	}
}

// turned acts on one peer's change of state.
func (n *link) turned(c change) {
	m := n.mesh
	k, _ := m.book.get(c.peer)
	m.log.Info("a peer's state changed", "peer", c.peer, "name", k.Name, "from", c.from, "to", c.to)
	m.book.stands(c.peer, c.to)
	switch c.to {
	case Failed, Left:
		m.clocks.drop(c.peer)
		n.hangUp(c.peer)
		m.settling.done(c.peer)
		if c.to == Failed && n.superseded(k) {
			n.tell(departed{c.peer})
		}
	case Suspect:
		if c.from != Alive { // what it runs counts again from here on, and may be surplus
			m.settling.regained(c.peer, time.Now())
		}
	case Alive:
		n.supersede(k)
		if c.from == Failed || c.from == Left || !m.rounds.met(c.peer) {
			m.settling.regained(c.peer, time.Now())
		}
		m.catchUp(c.peer)
	}
}

// supersede declares a dead member gone for good whose host came back under a new identity: its data directory was lost.
func (n *link) supersede(k known) {
	for _, old := range n.mesh.Members() {
		if old.Name == k.Name && old.ID != k.ID && old.State == Failed {
			n.mesh.log.Info("a host came back under a new identity", "name", k.Name, "old", old.ID, "new", k.ID)
			n.tell(departed{old.ID})
		}
	}
}

// superseded tells that a dead member's host is back under a new identity already: here the new one may have been heard of
// before the old one was found dead.
func (n *link) superseded(old known) bool {
	return slices.ContainsFunc(n.mesh.Members(), func(p Member) bool {
		return p.Name == old.Name && p.Name != "" && p.ID != old.ID && p.State == Alive
	})
}

func (m *Mesh) repaint(j *judge) {
	m.view.Store(m.paint(j, time.Now()))
	m.wake()
}

// housekeeping saves the known peers, lets waits run out and sweeps old tokens.
func (n *link) housekeeping(ctx context.Context) error {
	m := n.mesh
	save, sweep := time.NewTicker(saveEvery), time.NewTicker(sweepEvery)
	defer save.Stop()
	defer sweep.Stop()
	held := false
	var failing bool
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-save.C:
			if err := m.book.save(); err != nil != failing {
				failing = err != nil
				m.log.Warn("known peers could not be saved; trying on", "failing", failing, "error", err)
			}
			now, _ := m.Hold()
			if m.settling.expire(time.Now()) || held != now {
				m.wake()
			}
			held = now
			n.guardKeys()
		case <-sweep.C:
			if err := sweepTokens(ctx, m.store, m.mine, time.Now()); err != nil {
				m.log.Debug("could not sweep old tokens", "error", err)
			}
		}
	}
}

// pending counts the checks under way, so that a peer that never answers does not gather goroutines.
type pending struct {
	mu    sync.Mutex // guards count
	count map[ID]int
}

func newPending() *pending { return &pending{count: make(map[ID]int)} }

func (p *pending) add(id ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[id] >= maxPending {
		return false
	}
	p.count[id]++
	return true
}

func (p *pending) done(id ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[id]--; p.count[id] <= 0 {
		delete(p.count, id)
	}
}
