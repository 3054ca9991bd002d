// Package amend changes one object of the replica by what it holds at the moment: read, change, write against what was read,
// and the same again when somebody else's write came first.
package amend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

// Replica is the part of the store that is needed.
type Replica interface {
	Get(store.Key) (*store.Object, store.Revision)
	Write(context.Context, store.Write) (*store.Object, error)
}

// tries are spread over some 3 s, each pause half as long again at random, so that two who meet once do not meet again.
const tries = 9

// Object writes what change makes of the object; base is nil where there is none, and a nil body leaves it as it is. change may
// be called several times and must not keep base. When others come first every time the error wraps the store's own,
// and nothing was written.
func Object(ctx context.Context, r Replica, key store.Key, human bool, change func(base *store.Object) ([]byte, error)) error {
	var met error
	pause := wait.Backoff{Duration: 10 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: tries}
	err := wait.ExponentialBackoffWithContext(ctx, pause, func(ctx context.Context) (bool, error) {
		base, _ := r.Get(key)
		body, err := change(base)
		if err != nil || body == nil {
			return true, err
		}
		_, err = r.Write(ctx, store.Write{Key: key, Body: body, Base: base, Human: human})
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrGone) {
			met = err
			return false, nil
		}
		return true, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return fmt.Errorf("others changed it %d times in the meantime: %w", tries, met)
	}
	return err
}
