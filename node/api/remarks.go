package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/amend"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

// remarkKind is the store's kind of remarks that a pod's host could not be told: one record for a pod and a node that made some. The
// host takes them as soon as they reach it, whatever became of who made them.
const remarkKind = "mesh/remarks"

const (
	tellTimeout = 3 * time.Second // until a host that does not answer counts as out of reach
	remarkSweep = time.Minute     // between looks at remarks whose pods are not here yet, or no more
)

// remarks carries what is written about pods of other nodes to these, and takes in what others wrote about the pods here.
type remarks struct{ s *Server }

var _ replica.Hosts = remarks{}

func (r remarks) Foreign(node string) bool { return r.s.cfg.AskHost != nil && node != r.s.cfg.Node }

func (r remarks) Tell(ctx context.Context, what replica.Remark) error {
	if state, _ := r.s.cfg.Live.Host(what.Host); state == gossip.Failed || state == gossip.Left {
		return replica.ErrAway
	}
	question, err := json.Marshal(what)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	answer, err := r.s.cfg.AskHost(ctx, what.Host, question)
	if err != nil {
		return fmt.Errorf("%w: %w", replica.ErrAway, err)
	}
	switch outcome(answer) {
	case laid:
		return nil
	case gone:
		return store.ErrGone
	}
	return replica.ErrAway
}

// outcome is a host's answer to a remark.
type outcome string

const (
	laid    outcome = "laid"    // over the pod's status
	gone    outcome = "gone"    // the pod is dead
	unknown outcome = "unknown" // the host does not know the pod as its own
)

// Observe answers another node's remark about a pod of this node's, in the form that Config.AskHost carries.
func (s *Server) Observe(ctx context.Context, question []byte) ([]byte, error) {
	var what replica.Remark
	if err := json.Unmarshal(question, &what); err != nil {
		return nil, fmt.Errorf("read a remark about a pod: %w", err)
	}
	o, err := s.observe(ctx, what, false)
	return []byte(o), err
}

func (s *Server) observe(ctx context.Context, what replica.Remark, late bool) (outcome, error) {
	if what.Host != s.cfg.Node {
		return unknown, nil
	}
	switch err := s.kinds["core/pods"].Observe(ctx, what, late); {
	case errors.Is(err, store.ErrGone):
		return gone, nil
	case errors.Is(err, replica.ErrElsewhere):
		return unknown, nil
	default:
		return laid, err
	}
}

func (r remarks) Keep(ctx context.Context, what replica.Remark) error {
	key := store.Key{Kind: remarkKind, Name: what.UID + "." + r.s.cfg.Node}
	err := amend.Object(ctx, r.s.cfg.Store, key, false, func(base *store.Object) ([]byte, error) {
		next := what
		var before replica.Remark
		if base != nil && json.Unmarshal(base.Bodies[store.Intent], &before) == nil {
			next = what.After(before)
		}
		return json.Marshal(next)
	})
	if err != nil {
		return fmt.Errorf("keep what was written about pod %s/%s for its host %s: %w", what.Namespace, what.Name, what.Host, err)
	}
	return nil
}

// run takes in the remarks that others kept for this node, until ctx ends.
func (r remarks) run(ctx context.Context) error {
	for {
		if err := r.follow(ctx); ctx.Err() != nil {
			return ctx.Err()
		} else if !errors.Is(err, store.ErrCompacted) {
			r.s.cfg.Log.Warn("what others wrote about pods here is not taken in yet", "err", err)
		}
		if err := idle(ctx, keeperRetry, nil); err != nil {
			return err
		}
	}
}

func (r remarks) follow(ctx context.Context) error {
	for {
		sub, err := r.s.cfg.Store.Subscribe(store.Selector{Kind: remarkKind}, 0, true)
		if err != nil {
			return err
		}
		err = r.takeAll(ctx, sub.Initial)
		if err == nil { // whatever changes is reason enough to look at all of them: there are few, and mostly none
			wait, cancel := context.WithTimeout(ctx, remarkSweep)
			_, err = sub.Next(wait)
			cancel()
		}
		sub.Close()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

func (r remarks) takeAll(ctx context.Context, all []*store.Object) error {
	var errs []error
	for _, o := range all {
		call, cancel := context.WithTimeout(ctx, settleTimeout)
		errs = append(errs, r.take(call, o))
		cancel()
	}
	return errors.Join(errs...)
}

// take lays a remark over its pod's status and forgets it. Those of pods that died with another host are forgotten by their home.
func (r remarks) take(ctx context.Context, o *store.Object) error {
	var what replica.Remark
	if err := json.Unmarshal(o.Bodies[store.Intent], &what); err != nil {
		return nil // of a later version, for a host of one
	}
	done := r.s.cfg.Store.Tombstoned(what.UID) && r.s.cfg.Mine(o.Kind, o.Namespace, o.Name)
	if what.Host == r.s.cfg.Node {
		outcome, err := r.s.observe(ctx, what, true)
		if err != nil {
			return err
		}
		done = outcome != unknown
	}
	if !done {
		return nil
	}
	_, err := r.s.cfg.Store.Write(ctx, store.Write{Key: o.Key, Op: store.Delete, Base: o})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrGone) {
		return nil // there is more of it by now
	}
	return err
}
