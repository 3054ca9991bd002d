package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Mesh is this server's membership: who else is there, how to talk to them, and the replicated store. All methods are safe
// for concurrent use. Open makes one, Run drives it.
type Mesh struct {
	cfg       Config
	log       *slog.Logger
	self      identity
	keys      Keys
	cert      certificate
	advertise netip.AddrPort
	opened    time.Time
	book      *book
	store     *store.Store
	clocks    *clocks
	rounds    *rounds
	asking    atomic.Int32 // reconciliations under way for which we asked
	settling  *settling
	ready     chan struct{}
	readyOnce sync.Once
	behind    chan ID // peers to reconcile with soon
	evictions evictions
	banished  atomic.Bool // a member told us that we were evicted

	view atomic.Pointer[view] // what Members, Home, Slow and Hold answer from

	mu       sync.Mutex // guards what follows
	handlers map[string]func(context.Context, ID, Stream)
	net      *link // nil while the mesh does not run
	watchers map[chan struct{}]struct{}
	left     bool
}

// Open reads an initialised data directory (see Create and Join) and opens the store in it. It starts nothing.
func Open(cfg Config) (*Mesh, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if !Initialised(cfg.Dir) {
		return nil, fmt.Errorf("open mesh: %s belongs to no mesh yet: create one or join with a token", cfg.Dir)
	}
	m := &Mesh{
		cfg: cfg, log: cfg.Log, opened: time.Now(),
		clocks: newClocks(), rounds: newRounds(), settling: newSettling(),
		ready: make(chan struct{}), behind: make(chan ID, behindQueue),
		handlers: make(map[string]func(context.Context, ID, Stream)),
		watchers: make(map[chan struct{}]struct{}),
	}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("open mesh: %w", err)
	}
	m.view.Store(m.paint(newJudge(m.self.ID(), time.Now()), time.Now()))
	if m.store, err = store.Open(m.storeConfig()); err != nil {
		return nil, fmt.Errorf("open mesh: %w", err)
	}
	m.refreshEvictions()
	return m, nil
}

func (m *Mesh) load() (err error) {
	if m.self, err = loadIdentity(m.cfg); err != nil {
		return err
	}
	if m.keys, err = loadKeys(m.cfg); err != nil {
		return err
	}
	if err = readJSON(m.cfg.path(certificateFile), &m.cert); err != nil {
		return fmt.Errorf("read member certificate: %w", err)
	}
	ca, err := m.keys.authority()
	if err != nil {
		return err
	}
	if _, err = m.cert.admits(ca, m.keys.MeshID, m.self.id); err != nil {
		return fmt.Errorf("check own member certificate: %w", err)
	}
	if m.book, err = openBook(m.cfg.path(peersFile)); err != nil {
		return err
	}
	m.advertise, err = m.cfg.advertised()
	return err
}

// Ready is closed once this node talks to the mesh: it listens, and either it knows nobody, or it has reconciled with one
// peer, or 2 s have passed (30 s on a server that is new, or lost its store).
func (m *Mesh) Ready() <-chan struct{} { return m.ready }

// Store is the replica on this server; it works while Run runs.
func (m *Mesh) Store() *store.Store { return m.store }

// Keys are the mesh's secrets. Never log them.
func (m *Mesh) Keys() Keys { return m.keys }

// CreateToken makes a token that lets one server join before ttl (at most 30 days) is over. Any member can redeem it.
func (m *Mesh) CreateToken(ctx context.Context, ttl time.Duration) (string, error) {
	if ttl <= 0 || ttl > maxTTL {
		return "", fmt.Errorf("create token: a lifetime of %s is not between 0 and %s", ttl, maxTTL)
	}
	t, err := newToken(m.keys, m.self.id, m.tokenAddrs(), time.Now().Add(ttl))
	if err != nil {
		return "", fmt.Errorf("create token: %w", err)
	}
	if err := recordToken(ctx, m.store, t); err != nil {
		return "", fmt.Errorf("create token: %w", err)
	}
	return t.String(), nil
}

func (m *Mesh) link() *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.net
}

// Leave says goodbye: the others see this node as Left, not Failed, and do not redial it. Call it before ending Run; a later
// Run comes back.
func (m *Mesh) Leave(ctx context.Context) error {
	n := m.link()
	if n == nil {
		return fmt.Errorf("leave the mesh: %w", ErrNotRunning)
	}
	m.mu.Lock()
	m.left = true
	m.mu.Unlock()
	done := make(chan error, 1)
	if !n.begin() {
		return fmt.Errorf("leave the mesh: %w", ErrNotRunning)
	}
	go func() {
		defer n.work.Done()
		n.farewell(leaving)
		done <- n.serf.Leave()
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("leave the mesh: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave the mesh: %w", errors.Join(ctx.Err(), errors.New("the others may see this node as failed")))
	}
}
