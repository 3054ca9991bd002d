package gossip

import (
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// view is what the readers see: painted anew by the judge's loop after every change, then immutable.
type view struct {
	members   []Member
	live      []candidate
	slow      bool
	holdUntil time.Time
	holdWhy   string
}

func (m *Mesh) paint(j *judge, now time.Time) *view {
	v := &view{slow: j.slowNow()}
	self := m.Self()
	v.members = append(v.members, self)
	if self.State != Left {
		v.live = append(v.live, candidateOf(self.ID))
	}
	missing, peers := 0, 0
	for id, p := range j.peers {
		k, _ := m.book.get(id)
		v.members = append(v.members, Member{ID: id, Name: k.Name, Addr: k.Addr, Region: k.Region, Zone: k.Zone,
			State: p.state, Since: p.since})
		if p.state != Left {
			peers++
		}
		if p.state == Alive || p.state == Suspect {
			v.live = append(v.live, candidateOf(id))
		}
		if p.state == Suspect || p.state == Failed {
			missing++
		}
	}
	if len(v.live) == 0 {
		v.live = append(v.live, candidateOf(self.ID)) // somebody must be the home
	}
	slices.SortFunc(v.members, func(a, b Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	if held, until := j.hold(now); held {
		v.holdUntil = until
		v.holdWhy = fmt.Sprintf("%d of %d peers are out of sight at once: this may be our own link; waiting until %s",
			missing, peers, until.Format(time.TimeOnly))
	}
	return v
}

// Self is this server; its state is Alive, or Left after Leave.
func (m *Mesh) Self() Member {
	self := Member{ID: m.self.ID(), Name: m.cfg.Name, Addr: m.advertise, Region: m.cfg.Region, Zone: m.cfg.Zone, Since: m.opened}
	if m.hasLeft() {
		self.State = Left
	}
	return self
}

// Members are all peers ever met and this server, sorted by ID. The slice must not be modified.
func (m *Mesh) Members() []Member { return m.view.Load().members }

// Home names the member that serialises and reconciles what belongs to root: the same on every node with the same live
// members (Alive or Suspect, itself included). It takes no lock.
func (m *Mesh) Home(root store.Key) ID { return home(root, m.view.Load().live) }

// Homes are the first most members in the order in which they are the home of root, should those before them be lost.
func (m *Mesh) Homes(root store.Key, most int) []ID { return homes(root, m.view.Load().live, most) }

// Slow tells that this node is probably the slow one: it was frozen a moment ago, or its probes fail more often than those
// of others. It should decide nothing about others then.
func (m *Mesh) Slow() bool { return m.view.Load().slow }

// Hold tells whether destructive decisions should wait, and why: more than half of at least three peers went out of sight
// together. It lasts at most 60 s.
func (m *Mesh) Hold() (bool, string) {
	v := m.view.Load()
	if !time.Now().Before(v.holdUntil) {
		return false, ""
	}
	return true, v.holdWhy
}

// Settled is false while a member that came back has not been reconciled with, for at most 30 s: until then a home must
// do nothing destructive, for it may not know what the other side wrote.
func (m *Mesh) Settled() bool { return m.settling.settled(time.Now()) }

// Watch gives a channel that holds a wake after any change of Members, Slow, Hold or Settled. Wakes coalesce; the reader
// looks at the whole picture. stop ends it.
func (m *Mesh) Watch() (wake <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[c] = struct{}{}
	return c, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
	}
}

func (m *Mesh) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
