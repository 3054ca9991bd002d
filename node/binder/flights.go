package binder

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// flights are the claims that the watch does not show yet: a host was chosen, is being asked, or has been written. They
// count in every decision until the watch shows the pod bound or gone.
type flights struct {
	mu sync.Mutex // guards all
	m  map[types.UID]flight
}

type flight struct {
	key, host string
	written   time.Time // zero: the host is still being asked
}

func newFlights() *flights { return &flights{m: map[types.UID]flight{}} }

func (f *flights) start(p *corev1.Pod, host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m[p.UID] = flight{key: key(p), host: host}
}

// divert moves the claim to the next candidate.
func (f *flights) divert(uid types.UID, host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, is := f.m[uid]; is {
		v.host = host
		f.m[uid] = v
	}
}

func (f *flights) written(uid types.UID, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, is := f.m[uid]; is {
		v.written = now
		f.m[uid] = v
	}
}

func (f *flights) drop(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, uid)
}

func (f *flights) has(uid types.UID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, is := f.m[uid]
	return is
}

func (f *flights) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.m)
}

func (f *flights) hosts() map[types.UID]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[types.UID]string, len(f.m))
	for uid, v := range f.m {
		out[uid] = v.host
	}
	return out
}

// land forgets the flights that ended, and those whose binding was written long ago and never seen: then the picture is
// right. It returns when the next one of those is due; zero: none.
func (f *flights) land(p *picture, now time.Time) (next time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for uid, v := range f.m {
		if v.written.IsZero() {
			continue
		}
		due := v.written.Add(landWithin)
		if p.landed(v.key, uid) || !due.After(now) {
			delete(f.m, uid)
		} else if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}
