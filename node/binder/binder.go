package binder

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/orpheus-mesh/orpheus/placement"
)

// Bounds of the loop.
const (
	batchSize  = 200              // pods of one decision
	maxFlights = 400              // bindings under way
	couriers   = 16               // goroutines that ask hosts and write to the API
	firstPause = time.Second      // before a pod that fitted nowhere is tried again
	lastPause  = 10 * time.Second // the longest such pause
	flushAfter = 5 * time.Minute  // after which it is tried again though nothing seems to have changed
	landWithin = 30 * time.Second // in which a written binding comes back on the watch
)

// Binder places the pods of one home.
type Binder struct {
	config      Config
	dial        func(*rest.Config) (kubernetes.Interface, error)
	wake        chan struct{}
	picture     *picture
	book        book
	flights     *flights
	promises    *promises
	jobs        chan job // as many as flights: never full
	refused     chan job
	preemptions chan preemption
	relocations chan relocation
	done        chan result
	tries       map[types.UID]*try // of pods that wait; owned by the loop
	drift       drift
}

// try is what is remembered of a pod's last decision.
type try struct {
	epoch  uint64
	at     time.Time
	pause  time.Duration
	soon   bool // a host declined or did not answer: try again whatever the picture says
	reason string
	told   time.Time

	since    time.Time // when it was first refused
	searched time.Time // when was last looked whether others could make way for it
	search   time.Duration
}

// New checks the configuration and starts nothing.
func New(c Config) (*Binder, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	b := &Binder{config: c, wake: make(chan struct{}, 1), flights: newFlights(), jobs: make(chan job, maxFlights),
		refused: make(chan job, batchSize), promises: newPromises(), preemptions: make(chan preemption, maxPreemptions), relocations: make(chan relocation, mostMoves),
		done: make(chan result, couriers), tries: map[types.UID]*try{}, drift: newDrift()}
	b.dial = func(r *rest.Config) (kubernetes.Interface, error) { return kubernetes.NewForConfig(r) }
	b.picture = newPicture(b.ring)
	return b, nil
}

func (b *Binder) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run places pods until ctx ends.
func (b *Binder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := rest.CopyConfig(b.config.Client)
	r.Impersonate = rest.ImpersonationConfig{UserName: "system:kube-scheduler", Groups: []string{"system:authenticated"}}
	r.UserAgent = "orpheus/binder"
	client, err := b.dial(r)
	if err != nil {
		return fmt.Errorf("binder: make a client: %w", err)
	}
	// Upstream's role lets the scheduler delete pods, not evict them; but a deletion asks no disruption budget.
	r.Impersonate.Groups = []string{"system:masters"}
	evictor, err := b.dial(r)
	if err != nil {
		return fmt.Errorf("binder: make a client: %w", err)
	}
	var running sync.WaitGroup
	for _, w := range reflectors(client, b.picture) {
		running.Go(func() { w.RunWithContext(ctx) })
	}
	voice := newVoice(ctx, client)
	for range couriers {
		running.Go(func() { b.courier(ctx, client, evictor, voice) })
	}
	b.loop(ctx)
	cancel()
	running.Wait()
	voice.close()
	return nil
}

// loop is the one place where decisions are made. Whatever wakes it, it looks at everything.
func (b *Binder) loop(ctx context.Context) {
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	changed := b.config.Changed
	var looks <-chan time.Time
	if b.config.Rebalance != placement.Off {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		looks = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-b.done:
			b.finish(r)
			for more := true; more; {
				select {
				case r := <-b.done:
					b.finish(r)
				default:
					more = false
				}
			}
		case <-b.wake:
		case _, open := <-changed:
			if !open {
				changed = nil
			}
		case <-b.config.VolumesChanged:
			b.picture.turn()
		case <-alarm.C:
		case <-looks:
			b.rebalance(time.Now())
			continue
		}
		if next := b.round(time.Now()); !next.IsZero() {
			alarm.Reset(time.Until(next))
		}
	}
}

func sameHosts(a, b map[string]time.Time) bool {
	return maps.EqualFunc(a, b, func(_, _ time.Time) bool { return true })
}

// round decides for one batch and returns when to come back though nothing happens; zero: never.
func (b *Binder) round(now time.Time) (next time.Time) {
	queue, epoch, ok := b.picture.queue(b.config.Mine)
	if !ok {
		return time.Time{}
	}
	next = b.flights.land(b.picture, now)
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	waits := make(map[types.UID]bool, len(queue))
	var ready []*corev1.Pod
	for _, p := range queue {
		waits[p.UID] = true
		if b.flights.has(p.UID) {
			continue
		}
		if due := b.due(p.UID, epoch, now); due.After(now) {
			sooner(due)
			continue
		}
		if lack := b.lacks(p); lack != "" {
			b.refuse(p, lack, epoch, now, false)
			sooner(b.due(p.UID, epoch, now))
			continue
		}
		ready = append(ready, p)
	}
	for uid := range b.tries {
		if !waits[uid] {
			delete(b.tries, uid)
		}
	}
	room := min(batchSize, maxFlights-b.flights.count())
	if len(ready) == 0 || room <= 0 {
		return next // a landing wakes us
	}
	order(ready)
	if len(ready) > room {
		ready = ready[:room]
		b.ring()
	}
	b.decide(ready, epoch, now)
	for _, p := range ready {
		if !b.flights.has(p.UID) {
			sooner(b.due(p.UID, epoch, now))
		}
	}
	return next
}

// due is when a pod may be tried: at once when it is new.
func (b *Binder) due(uid types.UID, epoch uint64, now time.Time) time.Time {
	t := b.tries[uid]
	switch {
	case t == nil:
		return now
	case t.soon || t.epoch != epoch:
		return t.at.Add(t.pause)
	}
	return t.at.Add(flushAfter)
}

// lacks is the refusal of a pod for which no host is looked at yet; "" for others.
func (b *Binder) lacks(p *corev1.Pod) string {
	if b.config.Lacks == nil {
		return ""
	}
	lack := b.config.Lacks(p)
	if lack != "" {
		lack = fmt.Sprintf("0/%d nodes are available: %s.", b.picture.size(), lack)
	}
	return lack
}

func order(pods []*corev1.Pod) {
	priority := func(p *corev1.Pod) int32 {
		if p.Spec.Priority == nil {
			return 0
		}
		return *p.Spec.Priority
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(priority(b), priority(a)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			strings.Compare(string(a.UID), string(b.UID)))
	})
}

// decide lays the batch before placement and hands what follows to the couriers.
func (b *Binder) decide(batch []*corev1.Pod, epoch uint64, now time.Time) {
	byUID := make(map[string]*corev1.Pod, len(batch))
	for _, p := range batch {
		byUID[string(p.UID)] = p
	}
	o := b.options()
	plan := b.book.decide(b.picture, b.about(batch), o)
	b.preempt(plan.Preemptions, byUID, now)
	for _, bind := range plan.Binds {
		p := byUID[bind.Pod]
		if p == nil {
			continue
		}
		delete(byUID, bind.Pod)
		b.flights.start(p, bind.Host)
		b.jobs <- job{pod: p, hosts: append([]string{bind.Host}, bind.Others...)}
	}
	for _, pending := range plan.Pending {
		if p := byUID[pending.Pod]; p != nil {
			delete(byUID, pending.Pod)
			b.refuse(p, Message(pending), epoch, now, b.held(o, p))
		}
	}
	for _, p := range byUID {
		b.refuse(p, "the placement gave no answer for this pod", epoch, now, true)
	}
}

// refuse notes that a pod stays without a host and tells it, when there is something new to tell. When the couriers are
// behind it is told after the next try.
func (b *Binder) refuse(p *corev1.Pod, reason string, epoch uint64, now time.Time, soon bool) {
	t := b.postpone(p.UID, epoch, now, soon)
	if t.reason == reason && now.Sub(t.told) < flushAfter {
		return
	}
	select {
	case b.refused <- job{pod: p, refusal: reason}:
		t.reason, t.told = reason, now
	default:
	}
}

// postpone notes that a pod was tried in vain.
func (b *Binder) postpone(uid types.UID, epoch uint64, now time.Time, soon bool) *try {
	t := b.tries[uid]
	if t == nil {
		t = &try{since: now}
		b.tries[uid] = t
	}
	t.epoch, t.at, t.soon = epoch, now, soon
	t.pause = min(max(2*t.pause, firstPause), lastPause)
	return t
}

// finish takes a courier's answer.
func (b *Binder) finish(r result) {
	if r.bound {
		b.flights.written(r.pod.UID, time.Now())
		delete(b.tries, r.pod.UID)
		return
	}
	b.flights.drop(r.pod.UID)
	if r.reason == "" {
		b.postpone(r.pod.UID, 0, time.Now(), true)
		return
	}
	b.refuse(r.pod, r.reason, 0, time.Now(), true)
}

// Message is a refusal in kube-scheduler's words.
func Message(p placement.Pending) string {
	p.Reasons = slices.Clone(p.Reasons)
	for i := range p.Reasons {
		p.Reasons[i].Text = Reason(p.Reasons[i].Text)
	}
	return p.String()
}

// Reason is one reason of a host in those words. A host that is not ready already says so in them.
func Reason(text string) string {
	if words := strings.TrimPrefix(text, "node(s) were not ready: "); strings.HasPrefix(words, "node(s) had") {
		return words
	}
	return text
}
