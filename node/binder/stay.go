package binder

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orpheus-mesh/orpheus/placement"
)

// RebalanceLabel set to "off" keeps a pod where it is, and on a Node keeps that node from drawing pods.
const RebalanceLabel = "orpheus.dev/rebalance"

// stay is what the picture knows of a pod besides what placement knows: whether it may be moved for balance's sake.
type stay struct {
	workload string // Deployment, or ReplicaSet that has none, as namespace/name; "" of any other pod: it is never moved
	set      string // name of its ReplicaSet
	born     time.Time
	ready    bool
	keeps    bool // it is labelled to stay, or keeps data on its host
}

func stayOf(p *corev1.Pod) stay {
	ref := metav1.GetControllerOf(p)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return stay{}
	}
	s := stay{set: ref.Name, born: p.CreationTimestamp.Time, keeps: p.Labels[RebalanceLabel] == "off"}
	s.workload = p.Namespace + "/" + strings.TrimSuffix(ref.Name, "-"+p.Labels["pod-template-hash"])
	for _, v := range p.Spec.Volumes {
		s.keeps = s.keeps || v.EmptyDir != nil || v.HostPath != nil || v.PersistentVolumeClaim != nil || v.Ephemeral != nil
	}
	for _, c := range p.Status.Conditions {
		s.ready = s.ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	return s
}

// crowd is all pods of one workload.
type crowd struct {
	set     string
	pods    int
	unquiet bool // it is being rolled out or scaled, or not all of it is Ready
}

// crowds counts the pods by workload. mu is held.
func (c *picture) crowds(now time.Time) map[string]*crowd {
	out := map[string]*crowd{}
	for _, e := range c.pods {
		if e.stay.workload == "" || e.done {
			continue
		}
		w := out[e.stay.workload]
		if w == nil {
			w = &crowd{set: e.stay.set}
			out[e.stay.workload] = w
		}
		w.pods++
		w.unquiet = w.unquiet || w.set != e.stay.set || !e.stay.ready || e.pod.Leaving || e.pod.Host == "" || now.Sub(e.stay.born) < movePace
	}
	return out
}

// mover is a pod that may be moved.
type mover struct {
	stay
	namespace, name string
}

// movable are the pods that may be moved to a host that joined at a time, by UID: those that are older than its joining (so
// that none is moved to it twice), have settled, keep nothing where they are, and are not alone in a workload that is
// quiet.
func (c *picture) movable(joined, now time.Time) map[string]mover {
	c.mu.Lock()
	defer c.mu.Unlock()
	crowds := c.crowds(now)
	out := map[string]mover{}
	for _, e := range c.pods {
		s := &e.stay
		if s.workload == "" || e.done || s.keeps || !s.born.Before(joined) || now.Sub(s.born) < settleAge {
			continue
		}
		if w := crowds[s.workload]; !w.unquiet && w.pods > 1 {
			out[e.pod.UID] = mover{*s, e.pod.Namespace, e.pod.Name}
		}
	}
	return out
}

// newcomers are the hosts that may draw pods at this moment, with the times when they joined: those that are new, and to
// which nothing is on its way.
func (c *picture) newcomers(now time.Time) map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]time.Time{}
	for name, at := range c.joined {
		if h := c.hosts[name]; h.NotReady == "" && !h.Cordoned && now.Sub(at) < newcomerFor {
			out[name] = at
		}
	}
	for _, e := range c.pods {
		if s := &e.stay; s.workload != "" && !e.done && (now.Sub(s.born) < movePace || !s.ready && now.Sub(s.born) < settleAge) {
			delete(out, e.pod.Host)
		}
	}
	return out
}

// settled has only those pods move that may: whoever may not has no owner in the view, by which placement knows it.
func settled(v placement.View, movable map[string]mover) {
	for i := range v.Pods {
		if _, may := movable[v.Pods[i].UID]; !may {
			v.Pods[i].Owner = ""
		}
	}
}

// drawing turns a view into the question which pods the host named would draw. Who asks for nothing counts for what
// kube-scheduler's scores count it, else a host full of them would look empty.
func drawing(v placement.View, host string, movable map[string]mover) placement.View {
	for i := range v.Hosts {
		v.Hosts[i].Joined = v.Hosts[i].ID == host
	}
	settled(v, movable)
	for i := range v.Pods {
		p := &v.Pods[i]
		if p.Requests.CPU == 0 && p.Requests.Memory == 0 {
			p.Requests.CPU, p.Requests.Memory = 100, 200<<20
		}
	}
	return v
}
