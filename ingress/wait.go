package ingress

import (
	"net/http"
	"sync/atomic"
	"time"
)

const (
	recently    = 5 * time.Second // since a service lost its last endpoint: it is still waited for
	mostWaiting = 1024            // requests at a time, each with up to mostReplayable bytes of body
)

// waiting counts the requests that wait for an endpoint.
type waiting struct{ n atomic.Int64 }

func (w *waiting) enter() bool {
	if w.n.Add(1) > mostWaiting {
		w.n.Add(-1)
		return false
	}
	return true
}

func (w *waiting) leave() { w.n.Add(-1) }

// await waits for an endpoint of a service that had one until a moment ago: that the last pod leaves and that the next
// is ready are two messages, which need not come in that order. It ends with an endpoint, after Config.EmptyTimeout, when no rule names
// the service any more, or with the client. Whoever has had no endpoint for longer is not waited for.
func (f *flight) await(r *http.Request) {
	if len(f.pool.endpoints) > 0 || time.Since(f.pool.emptied) > recently || !f.proxy.waiting.enter() {
		return
	}
	defer f.proxy.waiting.leave()
	patience := time.NewTimer(f.proxy.config.EmptyTimeout)
	defer patience.Stop()
	for {
		seen := f.proxy.live.Load()
		now := seen.pool(f.pool.name)
		if now == nil {
			return
		}
		if f.pool = now; len(now.endpoints) > 0 {
			return
		}
		select {
		case <-seen.replaced:
		case <-patience.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}
