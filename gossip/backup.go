package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// What is attached to a backup's records: all that the first server of a mesh that lost every server needs. An identity is not
// among it: a peer ID names one server, and whoever restores makes a new one, which the authority's key admits.
const (
	manifestName = "manifest.json"
	keysName     = keysFile
	peersName    = peersFile
)

// ErrOtherMesh: the backup is of another mesh.
var ErrOtherMesh = errors.New("the backup is of another mesh")

// Manifest says what a backup is of.
type Manifest struct {
	Mesh string    `json:"mesh"`
	Node string    `json:"node"` // host name of the server that made it
	Time time.Time `json:"time"`
}

// Backup writes everything that a mesh needs to begin again from nothing, the mesh's secrets among it: the caller encrypts it.
// It returns the number of records.
func (m *Mesh) Backup(ctx context.Context, w io.Writer, more ...store.Attachment) (int, error) {
	self := m.Self()
	peers := append(m.book.all(), known{ID: self.ID, Name: self.Name, Addr: self.Addr, Region: self.Region, Zone: self.Zone})
	attached := more
	for _, a := range []struct {
		name string
		v    any
	}{{manifestName, Manifest{m.keys.MeshID, m.cfg.Name, time.Now().UTC()}}, {keysName, m.keys}, {peersName, peers}} {
		data, err := json.Marshal(a.v)
		if err != nil {
			return 0, fmt.Errorf("back up: %w", err)
		}
		attached = append(attached, store.Attachment{Name: a.name, Data: data})
	}
	n, err := m.store.Snapshot(ctx, w, attached...)
	if err != nil {
		return 0, fmt.Errorf("back up: %w", err)
	}
	return n, nil
}

// ManifestOf reads what a backup is of.
func ManifestOf(snap *store.SnapshotReader) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(snap.Attached(manifestName), &m); err != nil {
		return m, fmt.Errorf("read the backup's manifest: %w", err)
	}
	return m, nil
}

// Restore makes cfg.Dir, which belongs to no mesh, the first server of the backup's mesh: under a new identity, with the mesh's
// keys and all records. Servers of it that are still there, or come back, are found and merged with. It starts nothing. An
// error leaves at most an identity behind.
func Restore(ctx context.Context, cfg Config, snap *store.SnapshotReader) (records int, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return 0, err
	}
	if Initialised(cfg.Dir) {
		return 0, fmt.Errorf("restore into %s: %w", cfg.Dir, ErrInitialised)
	}
	var keys Keys
	var peers []known
	if err := json.Unmarshal(snap.Attached(keysName), &keys); err != nil {
		return 0, fmt.Errorf("restore: read the mesh's keys: %w", err)
	}
	if err := keys.check(); err != nil {
		return 0, fmt.Errorf("restore: the mesh's keys in the backup are unusable: %w", err)
	}
	if err := json.Unmarshal(snap.Attached(peersName), &peers); err != nil {
		return 0, fmt.Errorf("restore: read the known servers: %w", err)
	}
	self, err := loadIdentity(cfg)
	if err != nil {
		return 0, err
	}
	cert, err := keys.issue(self.ID(), cfg.Name, time.Now())
	if err != nil {
		return 0, err
	}
	if err := leftovers(cfg.storeFile()); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	if records, err = store.Import(ctx, cfg.storeDir(), snap, verify); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	return records, enrol(cfg, keys, cert, peers)
}

// leftovers removes the store of a restore that broke off between the records and the keys. Nothing else can be there: this
// directory belongs to no mesh.
func leftovers(file string) error {
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Merge takes a backup's records into this running mesh, as if a server that was away had brought them: nothing that was
// deleted since comes back. The others learn what was new by reconciling.
func (m *Mesh) Merge(ctx context.Context, snap *store.SnapshotReader) (store.Merged, error) {
	of, err := ManifestOf(snap)
	if err != nil {
		return store.Merged{}, err
	}
	if of.Mesh != m.keys.MeshID {
		return store.Merged{}, fmt.Errorf("%w (%s, this one is %s): restore it into an empty data directory", ErrOtherMesh, of.Mesh, m.keys.MeshID)
	}
	merged, err := m.store.Merge(ctx, snap)
	if merged.News > 0 {
		m.share()
	}
	return merged, err
}

// Admit is Store.Admit, and what it takes back reaches the others at once.
func (m *Mesh) Admit(ctx context.Context, id string, replace bool) error {
	err := m.store.Admit(ctx, id, replace)
	if err == nil {
		m.share()
	}
	return err
}

// share reconciles with everybody soon: what was merged here as if a peer had brought it is not gossiped.
func (m *Mesh) share() {
	for _, p := range m.Members() {
		if p.State == Alive && p.ID != m.self.ID() {
			m.catchUp(p.ID)
		}
	}
}
