package binder

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/orpheus-mesh/orpheus/placement"
)

// highestPriority is the highest that a PriorityClass of a user may have.
const highestPriority = 1_000_000_000

// Room is what preemption would do for a pod that fits nowhere: some of lower priority would leave a host for it.
type Room struct {
	Host     string
	Victims  []placement.Pod
	Priority int32 // that the pod needs for that: its own where it suffices
}

// Room tells what preemption would do for a pod as things are, with its own priority or with a higher one; ok is false where no
// priority would help. Safe for concurrent use.
func (b *Binder) Room(pod *corev1.Pod) (room Room, ok bool) {
	return makeRoom(b.picture.view(b.about([]*corev1.Pod{pod})), string(pod.UID))
}

func makeRoom(v placement.View, uid string) (room Room, ok bool) {
	at := slices.IndexFunc(v.Pods, func(p placement.Pod) bool { return p.UID == uid })
	if at < 0 {
		return Room{}, false
	}
	p := &v.Pods[at]
	own, never := p.Priority, p.NeverPreempts
	if room, ok = victims(v, uid); ok && !never {
		room.Priority = own
		return room, true
	}
	p.Priority, p.NeverPreempts = highestPriority, false
	if room, ok = victims(v, uid); !ok {
		return Room{}, false
	}
	room.Priority = own
	for _, q := range room.Victims {
		room.Priority = max(room.Priority, q.Priority+1)
	}
	return room, room.Priority <= highestPriority
}

// victims are those whom a decision about the View would tell to leave for the pod.
func victims(v placement.View, uid string) (room Room, ok bool) {
	for _, x := range placement.Place(v, placement.Options{Preempt: true}).Preemptions {
		if x.Pod != uid {
			continue
		}
		room.Host = x.Host
		for _, p := range v.Pods {
			if slices.Contains(x.Victims, p.UID) {
				room.Victims = append(room.Victims, p)
			}
		}
		return room, true
	}
	return Room{}, false
}
