package binder

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/placement"
)

// picture is all that decisions depend on, in placement's own types: pods are translated once, when they change. Whole
// pods are kept only while they wait for a host. It is written by the watches and read by the loop.
type picture struct {
	ring func() // wakes the loop; does not block

	mu      sync.Mutex // guards what is below
	pods    map[string]*entry
	hosts   map[string]placement.Host
	joined  map[string]time.Time         // when hosts joined; none of a host that must not draw pods
	spaces  map[string]map[string]string // labels of namespaces
	budgets map[string]placement.Budget  // by namespace/name
	epoch   uint64                       // rises with whatever may make an unplaceable pod fit
	synced  [4]bool

	byUID map[string]*entry
	waits map[string]*corev1.Pod // pods that wait for a host, by namespace/name
	news  news
}

// entry is one pod by namespace/name.
type entry struct {
	pod   placement.Pod
	stay  stay
	whole *corev1.Pod // while it waits, and where its terms depend on namespaces
	done  bool        // terminal: holds nothing
}

func newPicture(ring func()) *picture {
	return &picture{ring: ring, pods: map[string]*entry{}, hosts: map[string]placement.Host{}, joined: map[string]time.Time{}, spaces: map[string]map[string]string{},
		budgets: map[string]placement.Budget{}, byUID: map[string]*entry{}, waits: map[string]*corev1.Pod{}, news: newNews()}
}

func key(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

// waiting tells whether a pod is one that this scheduler places.
func waiting(p *corev1.Pod) bool {
	return p.Spec.NodeName == "" && p.DeletionTimestamp == nil && len(p.Spec.SchedulingGates) == 0 && !terminal(p) &&
		(p.Spec.SchedulerName == corev1.DefaultSchedulerName || p.Spec.SchedulerName == "")
}

func terminal(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// setPod takes a pod's new state. mu is held.
func (c *picture) setPod(p *corev1.Pod) {
	k := key(p)
	p.ManagedFields = nil
	before := c.pods[k]
	if before != nil && before.pod.UID != string(p.UID) {
		c.dropPod(k)
	}
	e := &entry{pod: translate(p, c.namespaces), stay: stayOf(p), done: terminal(p)}
	if waiting(p) || selectsNamespaces(p) {
		e.whole = p
	}
	c.pods[k], c.byUID[e.pod.UID] = e, e
	c.touch(e.pod.UID)
	delete(c.waits, k)
	if waiting(p) {
		c.waits[k] = p
	}
	if c.matters(before, e) {
		c.epoch++
	}
}

// matters tells whether the change may let another pod fit: one that left, moved, shrank, or is newly selected. A pod
// that merely started to wait takes nothing and gives nothing.
func (c *picture) matters(before, after *entry) bool {
	claims := func(e *entry) bool { return e != nil && !e.done && e.pod.Host != "" }
	if !claims(before) && !claims(after) {
		return false
	}
	return claims(before) != claims(after) || before.pod.Host != after.pod.Host || before.pod.Leaving != after.pod.Leaving ||
		!slices.Equal(before.pod.Labels, after.pod.Labels) || !apiequality.Semantic.DeepEqual(before.pod.Requests, after.pod.Requests)
}

func (c *picture) dropPod(k string) {
	e := c.pods[k]
	if e == nil {
		return
	}
	if !e.done && e.pod.Host != "" {
		c.epoch++
	}
	c.touch(e.pod.UID)
	delete(c.pods, k)
	delete(c.byUID, e.pod.UID)
	delete(c.waits, k)
}

func (c *picture) setNode(n *corev1.Node) {
	h := host(n)
	if before, had := c.hosts[n.Name]; !had || !apiequality.Semantic.DeepEqual(before, h) {
		c.hosts[n.Name] = h
		c.epoch++
		c.news.hosts, c.news.all = true, c.news.all || !had
	}
	c.joined[n.Name] = n.CreationTimestamp.Time
	if n.Labels[RebalanceLabel] == "off" {
		delete(c.joined, n.Name)
	}
}

func (c *picture) dropNode(name string) {
	delete(c.hosts, name)
	delete(c.joined, name)
	c.news.all = true
	c.epoch++
}

func (c *picture) setSpace(name string, l map[string]string) {
	c.spaces[name] = l
	for _, e := range c.pods {
		if e.whole != nil && selectsNamespaces(e.whole) {
			e.pod = translate(e.whole, c.namespaces)
			c.touch(e.pod.UID)
		}
	}
	c.epoch++
}

// setBudget takes a disruption budget. One that allows more may let a pod preempt that could not before.
func (c *picture) setBudget(b *policyv1.PodDisruptionBudget) {
	now := budget(b)
	if before, had := c.budgets[now.ID]; had && now.Allowed > before.Allowed {
		c.epoch++
	}
	c.budgets[now.ID] = now
	c.touchBudget(now.ID)
}

func (c *picture) dropBudget(k string) {
	delete(c.budgets, k)
	c.touchBudget(k)
	c.epoch++
}

// namespaces resolves a selector; mu is held.
func (c *picture) namespaces(s *metav1.LabelSelector) []string {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil
	}
	var out []string
	for name, l := range c.spaces {
		if sel.Matches(labels.Set(l)) {
			out = append(out, name)
		}
	}
	return out
}

// question is what a decision is about.
type question struct {
	batch    []*corev1.Pod // pods to place; those that the picture lacks are translated for this question only
	gone     map[types.UID]bool
	flights  map[types.UID]string
	promised map[types.UID]string       // hosts, as in nominatedNodeName
	leaving  map[types.UID]bool         // told to leave
	flapping map[string]time.Time       // hosts that are a last resort
	volumes  func(*corev1.Pod) []string // nil: all can be mounted anywhere
}

// view is what placement decides on: all hosts and budgets, all claims, those in flight, who was promised a host, and the
// batch, without what is gone. Claims on hosts without a Node are left out: they take nothing of any host that is there.
func (c *picture) view(q question) placement.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look(q)
}

// look is view; mu is held.
func (c *picture) look(q question) placement.View {
	v := placement.View{Hosts: c.lookAtHosts(q.flapping), Pods: make([]placement.Pod, 0, len(c.pods)+len(q.batch))}
	slices.SortFunc(v.Hosts, func(a, b placement.Host) int { return strings.Compare(a.ID, b.ID) })
	for _, b := range c.budgets {
		v.Budgets = append(v.Budgets, b)
	}
	slices.SortFunc(v.Budgets, func(a, b placement.Budget) int { return strings.Compare(a.ID, b.ID) })
	batch := make(map[types.UID]*corev1.Pod, len(q.batch))
	add := func(uid types.UID) {
		if p, stands := c.stands(uid, q, batch[uid]); stands {
			v.Pods = append(v.Pods, p)
		}
	}
	for _, p := range q.batch {
		batch[p.UID] = p
		if c.byUID[string(p.UID)] == nil {
			add(p.UID)
		}
	}
	for uid := range c.byUID {
		add(types.UID(uid))
	}
	slices.SortFunc(v.Pods, func(a, b placement.Pod) int { return strings.Compare(a.UID, b.UID) })
	return v
}

// lookAtHosts is in no order. mu is held.
func (c *picture) lookAtHosts(flapping map[string]time.Time) []placement.Host {
	out := make([]placement.Host, 0, len(c.hosts))
	for _, h := range c.hosts {
		_, h.LastResort = flapping[h.ID]
		out = append(out, h)
	}
	return out
}

// stands is how a pod stands in a question; whole is the pod itself where it is in the batch, else nil. ok is false where it is
// left out. mu is held.
func (c *picture) stands(uid types.UID, q question, whole *corev1.Pod) (p placement.Pod, ok bool) {
	switch e := c.byUID[string(uid)]; {
	case q.gone[uid]:
		return p, false
	case e != nil && !e.done:
		p = e.pod
	case whole != nil && !terminal(whole):
		p = translate(whole, c.namespaces)
	default:
		return p, false
	}
	if p.Host == "" {
		p.Host, p.Nominated = q.flights[uid], cmp.Or(q.promised[uid], p.Nominated)
	}
	if p.Host != "" {
		p.Nominated, p.Leaving = "", p.Leaving || q.leaving[uid]
	}
	if _, there := c.hosts[p.Host]; !there && whole == nil && p.Nominated == "" {
		return p, false
	}
	if whole != nil && q.volumes != nil {
		p.Hosts = q.volumes(whole)
	}
	return p, true
}

// turn begins a new epoch: something outside the picture changed that may make an unplaceable pod fit.
func (c *picture) turn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
}

// queue lists the pods that wait for a host and have their home here, and the present epoch; ok is false until all
// watches have listed.
func (c *picture) queue(mine func(kind, namespace, name string) bool) (pods []*corev1.Pod, epoch uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.waits {
		pods = append(pods, p)
	}
	pods = slices.DeleteFunc(pods, func(p *corev1.Pod) bool { return !mine("core/pods", p.Namespace, p.Name) })
	return pods, c.epoch, c.synced == [4]bool{true, true, true, true}
}

// size is how many hosts there are.
func (c *picture) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.hosts)
}

// landed tells whether a pod needs no claim in flight any more: it is bound, or gone.
func (c *picture) landed(k string, uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.pods[k]
	return e == nil || e.pod.UID != string(uid) || e.pod.Host != "" || e.done
}
