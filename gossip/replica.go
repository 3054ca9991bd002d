package gossip

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

const proposeProtocol = "/orpheus/propose/1"

// storeConfig lends the store what it needs of the mesh.
func (m *Mesh) storeConfig() store.Config {
	c := m.cfg.Store
	c.Dir = m.cfg.storeDir()
	c.Forgetful = m.newcomer()
	c.Self = string(m.self.ID())
	c.Sign = m.self.key.Sign
	c.Verify = verify
	c.Home = func(root store.Key) string { return string(m.Home(root)) }
	c.Propose = func(ctx context.Context, to string, frame []byte) ([]byte, error) {
		return m.Call(ctx, ID(to), proposeProtocol, frame)
	}
	c.Publish = m.announce
	c.Behind = func(peer string) { m.catchUp(ID(peer)) }
	c.Members = m.holders
	authors := newRates()
	c.Allow = func(author string, records, bytes int) bool { return authors.take(author, records, bytes, time.Now()) }
	c.Fit = m.clocks.fit
	c.Log = m.log.With("room", "store")
	m.Serve(proposeProtocol, func(ctx context.Context, from ID, frame []byte) ([]byte, error) {
		return m.store.HandlePropose(ctx, string(from), frame)
	})
	return c
}

// newcomer: this server knows peers and never had a store, or lost it. They may have forgotten objects that it never heard of.
func (m *Mesh) newcomer() bool {
	_, err := os.Stat(m.cfg.storeFile())
	return errors.Is(err, fs.ErrNotExist) && len(m.book.all()) > 0
}

func (m *Mesh) mine(k store.Key) bool { return m.Home(k) == m.self.ID() }

// announce gives a frame to gossip. While the mesh does not run it is lost, and reconciliation repairs that.
func (m *Mesh) announce(frame []byte) {
	if n := m.link(); n != nil {
		n.spread.publish(frame)
	}
}

// awaitStore waits until the store takes calls, which it does a moment after its Run began: a delete of what never was
// changes nothing and is refused by a store that runs.
func (m *Mesh) awaitStore(ctx context.Context) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := m.store.Write(ctx, store.Write{Key: store.Key{Kind: "mesh/probes", Name: "none"}, Op: store.Delete})
		if !errors.Is(err, store.ErrStopped) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
