package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Hosts carries remarks to the nodes whose pods they are about. Nil Hosts: every status is written here.
type Hosts interface {
	// Foreign tells whether a node is another one than this.
	Foreign(node string) bool
	// Tell has the host lay the remark over the pod's status. An error that wraps ErrAway says that the host can't be asked now, or
	// does not have the pod; any other is the client's to hear.
	Tell(ctx context.Context, r Remark) error
	// Keep sees to it that the host hears of the remark later.
	Keep(ctx context.Context, r Remark) error
}

// ErrAway says that a host did not take a remark now.
var ErrAway = errors.New("the pod's host is out of reach")

const (
	echoTimeout  = 5 * time.Second        // how long a writer waits to see here what the host wrote
	echoPatience = 500 * time.Millisecond // after which any newer word of the host will do: it may have corrected the writer
)

// putStatus has the node write a status that it is about. Out of reach of it the status is written here, and the host will hear of what
// changed: by then it may have written a newer one.
func (k *Kind) putStatus(ctx context.Context, base *store.Object, c change) (*store.Object, error) {
	hosts := k.replica.Hosts
	if c.host == "" || hosts == nil || !hosts.Foreign(c.host) {
		return k.writeStatus(ctx, base, c.status)
	}
	r, err := k.remark(base.Key, base.UID, c)
	if err != nil {
		return nil, fmt.Errorf("tell %s of a status: %w", c.host, err)
	}
	switch err := hosts.Tell(ctx, r); {
	case err == nil:
		return k.echo(ctx, base, r)
	case !errors.Is(err, ErrAway):
		return nil, err
	}
	if err := hosts.Keep(ctx, r); err != nil {
		return nil, err
	}
	return k.writeStatus(ctx, base, c.status)
}

// echo waits until this node, too, has what the host wrote: until the remark would change nothing any more.
func (k *Kind) echo(ctx context.Context, base *store.Object, r Remark) (*store.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	patience, cancel := context.WithTimeout(ctx, echoPatience)
	defer cancel()
	sub, err := k.replica.Store.Subscribe(store.Selector{Kind: base.Kind, Namespace: base.Namespace, Name: base.Name}, 0, true)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	for wait := patience; ; {
		o, _ := k.replica.Store.Get(base.Key)
		if o == nil || o.UID != base.UID {
			return nil, store.ErrGone
		}
		d, err := k.decode(o)
		if err != nil {
			return nil, err
		}
		missing, err := k.remarked(d, r, false)
		newer := !bytes.Equal(o.Bodies[k.part], base.Bodies[k.part])
		if err != nil || missing == nil || newer && wait == ctx {
			return o, err
		}
		if _, err := sub.Next(wait); err != nil {
			if wait == ctx || ctx.Err() != nil {
				return nil, fmt.Errorf("wait for what %s wrote: %w", r.Host, err)
			}
			wait = ctx
		}
	}
}
