package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/control"
)

// keyringName attaches the keys of Secrets to a backup: without them its Secrets would stay shut.
const keyringName = keyringFile

// Backup writes the whole mesh as this server has it, in the clear: the command at the other end of the socket encrypts it
// before it touches a disk.
func (s *server) Backup(ctx context.Context, w io.Writer) error {
	keys, err := json.Marshal(s.keyring.all())
	if err != nil {
		return fmt.Errorf("back up the keys of secrets: %w", err)
	}
	n, err := s.mesh.Backup(ctx, w, store.Attachment{Name: keyringName, Data: keys})
	if err == nil {
		s.log.Info("a backup was made", "records", n)
	}
	return err
}

// Merge takes a backup's records and keys into the running mesh. The keys come first: what they open may depend on them.
func (s *server) Merge(ctx context.Context, r io.Reader) (control.Merged, error) {
	snap, err := store.OpenSnapshot(r)
	if err != nil {
		return control.Merged{}, err
	}
	keys, err := keysIn(snap)
	if err != nil {
		return control.Merged{}, err
	}
	of, err := gossip.ManifestOf(snap)
	if err == nil && of.Mesh == s.mesh.Keys().MeshID {
		for _, key := range keys {
			if err := s.keyring.add(key); err != nil {
				return control.Merged{}, err
			}
		}
	}
	m, err := s.mesh.Merge(ctx, snap)
	if err == nil {
		s.log.Info("a backup was merged", "of", of.Node, "made", of.Time, "records", m.Records, "news", m.News)
	}
	return control.Merged{Records: m.Records, News: m.News, Lost: m.Lost, Node: of.Node, Time: of.Time}, err
}

// Restore makes an empty data directory the first server of a backup's mesh. No daemon may run in it. It starts nothing.
func Restore(ctx context.Context, cfg Config, r io.Reader, log *slog.Logger) (control.Merged, error) {
	unlock, err := lockDir(ctx, cfg.DataDir)
	if err != nil {
		return control.Merged{}, err
	}
	defer unlock()
	snap, err := store.OpenSnapshot(r)
	if err != nil {
		return control.Merged{}, err
	}
	of, err := gossip.ManifestOf(snap)
	if err != nil {
		return control.Merged{}, err
	}
	keys, err := keysIn(snap)
	if err != nil {
		return control.Merged{}, err
	}
	mesh := gossip.Config{Dir: meshDir(cfg), Name: cfg.Name, Log: log}
	if gossip.Initialised(mesh.Dir) {
		return control.Merged{}, fmt.Errorf("%s belongs to a mesh already: start its daemon to merge the backup, or name an empty directory with --data-dir", cfg.DataDir)
	}
	b, err := json.Marshal(keys)
	if err == nil {
		err = writeFile(filepath.Join(cfg.DataDir, keyringFile), b)
	}
	if err != nil {
		return control.Merged{}, fmt.Errorf("restore the keys of secrets: %w", err)
	}
	n, err := gossip.Restore(ctx, mesh, snap)
	return control.Merged{Records: n, News: n, Node: of.Node, Time: of.Time}, err
}

func keysIn(snap *store.SnapshotReader) (keys [][]byte, err error) {
	if err := json.Unmarshal(snap.Attached(keyringName), &keys); err != nil {
		return nil, fmt.Errorf("read the backup's keys of secrets: %w", err)
	}
	for _, key := range keys {
		if len(key) != keyBytes {
			return nil, fmt.Errorf("read the backup's keys of secrets: one has %d bytes instead of %d", len(key), keyBytes)
		}
	}
	return keys, nil
}

// Lost lists lost-and-found.
func (s *server) Lost(ctx context.Context) ([]control.Lost, error) {
	all, err := s.mesh.Store().Lost(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]control.Lost, 0, len(all))
	for _, l := range all {
		e := control.Lost{ID: l.ID, Kind: l.Kind, Namespace: l.Namespace, Name: l.Name, What: lostPart(l), Why: "from before the horizon of its kind",
			Edit: control.Edit{Author: s.nameOf(l.Author), Time: l.Time, Delete: l.Delete, Body: s.readable(l.Key, l.Body)}}
		if l.Damaged {
			e.Why = "read out of a damaged file"
		}
		out = append(out, e)
	}
	return out, nil
}

func lostPart(l store.Lost) string {
	switch {
	case l.Delete:
		return "deletion"
	case l.Part == store.Status:
		return "status"
	case l.Part == store.Observation:
		return "observation"
	case l.Human:
		return "a person's edit"
	}
	return "object"
}

// AdmitLost takes an entry of lost-and-found back.
func (s *server) AdmitLost(ctx context.Context, id string, replace bool) error {
	return s.mesh.Admit(ctx, id, replace)
}

// DropLost throws an entry of lost-and-found away.
func (s *server) DropLost(ctx context.Context, id string) error { return s.mesh.Store().Drop(ctx, id) }

// Evict declares that a server will not come back.
func (s *server) Evict(ctx context.Context, nameOrID string, force bool) (control.Member, error) {
	m, err := s.mesh.Evict(ctx, nameOrID, force)
	return s.memberOf(m), err
}
