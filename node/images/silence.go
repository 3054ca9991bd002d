package images

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// silenceMost is how long a pull may show no progress before it is given up. A kubelet's image-pull-progress-deadline was the
// same; without it a pod reads ContainerCreating for as long as the engine tries name servers that are dead.
const silenceMost = time.Minute

var errSilent = errors.New("no progress")

// hearing knows when any pull of an engine was heard of last.
type hearing struct{ last atomic.Int64 } // Unix nanoseconds

// attend runs one pull, which says through heard whatever the engine tells of it, and ends it when nothing was said for
// silenceMost. An engine downloads few layers at once: a pull that is told to wait for its turn may be silent as long as
// others are heard.
func (h *hearing) attend(ctx context.Context, pull func(ctx context.Context, heard func(status string)) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var said atomic.Pointer[string]
	var bell *time.Timer
	wound := make(chan struct{}) // bell is set
	bell = time.AfterFunc(silenceMost, func() {
		<-wound
		if s := said.Load(); s != nil && *s == "Waiting" {
			if left := silenceMost - time.Since(time.Unix(0, h.last.Load())); left > 0 {
				bell.Reset(left)
				return
			}
		}
		cancel(errSilent)
	})
	close(wound)
	defer bell.Stop()
	err := pull(ctx, func(status string) {
		said.Store(&status)
		h.last.Store(time.Now().UnixNano())
		bell.Reset(silenceMost)
	})
	if err == nil || !errors.Is(context.Cause(ctx), errSilent) {
		return err
	}
	if s := said.Load(); s != nil {
		return fmt.Errorf("no progress for %s after %q", silenceMost, *s)
	}
	return fmt.Errorf("no answer for %s: neither the registry nor, where it has a name, the name server may be reached", silenceMost)
}
