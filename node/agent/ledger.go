package agent

import (
	"fmt"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Resources are amounts of what a host can run out of: thousandths of a core, bytes, bytes, pieces.
type Resources struct{ CPU, Memory, Disk, Pods int64 }

// requests is what a pod asks for, init containers and overhead included.
func requests(pod *v1.Pod) Resources {
	list := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	r := amounts(list)
	r.Pods = 1
	return r
}

func amounts(l v1.ResourceList) Resources {
	return Resources{CPU: l.Cpu().MilliValue(), Memory: l.Memory().Value(), Disk: l.StorageEphemeral().Value(), Pods: l.Pods().Value()}
}

func (r Resources) plus(o Resources) Resources {
	return Resources{r.CPU + o.CPU, r.Memory + o.Memory, r.Disk + o.Disk, r.Pods + o.Pods}
}

func (r Resources) minus(o Resources) Resources {
	return Resources{r.CPU - o.CPU, r.Memory - o.Memory, r.Disk - o.Disk, r.Pods - o.Pods}
}

// reservation is how long an admitted pod may take to arrive bound.
const reservation = 10 * time.Second

// ledger is the host's book of what is promised: pods that are bound here, and reservations. A host never promises more
// than it has.
type ledger struct {
	mu      sync.Mutex // guards entries
	entries map[types.UID]entry
}

type entry struct {
	Resources
	ports []v1.ContainerPort
	until time.Time // zero: bound
}

func newLedger() *ledger { return &ledger{entries: map[types.UID]entry{}} }

// refusal is why a pod does not fit; its zero value is that it does.
type refusal struct{ Reason, Message string }

// admit books a pod when it fits into capacity; until is when a reservation ends, or zero for a pod that is bound. A pod
// that is booked already stays so.
func (l *ledger) admit(pod *v1.Pod, capacity Resources, now, until time.Time) (free Resources, no refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := l.used(pod.UID, now)
	free = capacity.minus(used)
	need, ports := requests(pod), hostPorts(pod)
	if have, ok := l.entries[pod.UID]; ok {
		if have.until.IsZero() {
			return free, refusal{}
		}
		if until.IsZero() {
			l.entries[pod.UID] = entry{need, ports, until}
			return free, refusal{}
		}
	}
	if no = lacks(need, used, capacity); no.Reason != "" {
		return free, no
	}
	if no = l.portTaken(pod.UID, ports); no.Reason != "" {
		return free, no
	}
	l.entries[pod.UID] = entry{need, ports, until}
	return free, refusal{}
}

// book books a pod whatever the capacity: it runs already.
func (l *ledger) book(pod *v1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[pod.UID] = entry{requests(pod), hostPorts(pod), time.Time{}}
}

func (l *ledger) release(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, uid)
}

// free is what could be promised now.
func (l *ledger) free(capacity Resources, now time.Time) Resources {
	l.mu.Lock()
	defer l.mu.Unlock()
	return capacity.minus(l.used("", now))
}

// used sums up all but one pod, and drops reservations that nobody took up.
func (l *ledger) used(but types.UID, now time.Time) (sum Resources) {
	for uid, e := range l.entries {
		switch {
		case !e.until.IsZero() && now.After(e.until):
			delete(l.entries, uid)
		case uid != but:
			sum = sum.plus(e.Resources)
		}
	}
	return sum
}

// lacks names the first resource that is short. A request of nothing always fits.
func lacks(need, used, capacity Resources) refusal {
	for _, r := range []struct {
		name             string
		need, used, have int64
	}{
		{"pods", need.Pods, used.Pods, capacity.Pods},
		{"cpu", need.CPU, used.CPU, capacity.CPU},
		{"memory", need.Memory, used.Memory, capacity.Memory},
		{"ephemeral-storage", need.Disk, used.Disk, capacity.Disk},
	} {
		if r.need > 0 && r.used+r.need > r.have {
			return refusal{"OutOf" + r.name, fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", r.name, r.need, r.used, r.have)}
		}
	}
	return refusal{}
}

func (l *ledger) portTaken(uid types.UID, ports []v1.ContainerPort) refusal {
	for other, e := range l.entries {
		if other == uid {
			continue
		}
		for _, a := range e.ports {
			for _, b := range ports {
				if overlap(a, b) {
					return refusal{"NodePorts", fmt.Sprintf("Node didn't have free ports for the requested pod ports: host port %d/%s is taken", b.HostPort, protocol(b))}
				}
			}
		}
	}
	return refusal{}
}

func overlap(a, b v1.ContainerPort) bool {
	all := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	return a.HostPort == b.HostPort && protocol(a) == protocol(b) && (all(a.HostIP) || all(b.HostIP) || a.HostIP == b.HostIP)
}

func protocol(p v1.ContainerPort) string {
	if p.Protocol == "" {
		return "TCP"
	}
	return strings.ToUpper(string(p.Protocol))
}
