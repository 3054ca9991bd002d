package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// secretKind is the kind whose bodies are sealed.
const secretKind = "core/secrets"

// SetSecretKeys replaces the keys of Secrets at rest: the first seals, all open. Every member needs a new key before
// anybody seals with it.
func (s *Server) SetSecretKeys(keys [][]byte) error { return s.seal.Set(keys) }

// RotateSecrets seals every Secret anew that is not under the first key, and tells how many. It may be stopped and
// repeated; Secrets that others change meanwhile are sealed by them.
func (s *Server) RotateSecrets(ctx context.Context) (int, error) {
	all, _, _, err := s.cfg.Store.List(store.Selector{Kind: secretKind}, store.ListOptions{})
	if err != nil {
		return 0, fmt.Errorf("list Secrets: %w", err)
	}
	done := 0
	for _, o := range all {
		changed, err := s.rotate(ctx, o)
		if err != nil {
			return done, fmt.Errorf("seal Secret %s/%s anew: %w", o.Namespace, o.Name, err)
		}
		if changed {
			done++
		}
	}
	return done, nil
}

func (s *Server) rotate(ctx context.Context, o *store.Object) (bool, error) {
	for range 5 {
		plain, stale, err := s.seal.Open(o.Key, o.Bodies[store.Intent])
		if err != nil || !stale {
			return false, err
		}
		sealed, err := s.seal.Close(o.Key, plain)
		if err != nil {
			return false, err
		}
		if err := s.reseal(ctx, o, sealed); err == nil {
			return true, nil
		} else if !errors.Is(err, store.ErrConflict) {
			return false, err
		}
		if o, _ = s.cfg.Store.Get(o.Key); o == nil {
			return false, nil
		}
	}
	return false, store.ErrConflict
}

// reseal writes the same Secret in another cover. It stays a person's where it was one, so that it keeps its weight
// against concurrent edits; with edits waiting beside it, it must not pass for the person's word that settles them.
func (s *Server) reseal(ctx context.Context, o *store.Object, sealed []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := s.cfg.Store.Write(ctx, store.Write{Key: o.Key, Body: sealed, Base: o, Head: o.Head, Human: o.Human && len(o.Others) == 0})
	if errors.Is(err, store.ErrGone) {
		return nil
	}
	return err
}
