package api

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/internal/memory"
	"github.com/orpheus-mesh/orpheus/node/tenure"
)

const (
	lowPort   = 30000
	somePorts = 40 // ports that are given out at first: few enough that two sides give out the same
)

// islands are nodes that replicate what they write to those that they see, each change after a while of its own. Of two
// writes of one key the later one stays, as of machines' writes. Time is virtual.
type islands struct {
	t     *testing.T
	mu    sync.Mutex // guards what follows
	dice  *rand.Rand
	nodes []*islander
	clock int64
	told  map[string]int
}

// islander is one node: the estate of its own keeper.
type islander struct {
	*islands
	id    int
	side  atomic.Int32
	store *memory.Store
	at    map[store.Key]int64
}

// written is the body of every record; Gone is a tombstone's.
type written struct {
	Service *v1.Service
	Gone    bool
}

func newIslands(t *testing.T, n int, seed uint64) *islands {
	w := &islands{t: t, dice: rand.New(rand.NewPCG(seed, 1)), told: map[string]int{}}
	for i := range n {
		w.nodes = append(w.nodes, &islander{islands: w, id: i, store: memory.New(), at: map[store.Key]int64{}})
	}
	return w
}

func (w *islands) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dice.IntN(n)
}

// write is this node's; the others hear of it.
func (n *islander) write(k store.Key, body written) {
	n.mu.Lock()
	n.clock++
	stamp := n.clock
	n.mu.Unlock()
	n.take(k, stamp, body)
	for _, o := range n.nodes {
		if o != n && o.side.Load() == n.side.Load() {
			go func() {
				time.Sleep(time.Duration(n.draw(400)) * time.Millisecond)
				o.take(k, stamp, body)
			}()
		}
	}
}

func (n *islander) take(k store.Key, stamp int64, body written) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at[k] >= stamp {
		return
	}
	n.at[k] = stamp
	raw, err := json.Marshal(body)
	if err != nil {
		n.t.Error(err)
	}
	base, _ := n.store.Get(k)
	w := store.Write{Key: k, Base: base, Body: raw}
	if body.Gone {
		w = store.Write{Key: k, Base: base, Op: store.Delete}
	}
	if base == nil && body.Gone {
		return
	}
	if _, err := n.store.Write(context.Background(), w); err != nil {
		n.t.Error(err)
	}
}

// heal lets all see all, and tells each what the others have.
func (w *islands) heal() {
	for _, n := range w.nodes {
		n.side.Store(0)
	}
	for _, n := range w.nodes {
		for _, kind := range []string{serviceKind, portKind} {
			all, _, _, _ := n.store.List(store.Selector{Kind: kind}, store.ListOptions{})
			for _, o := range all {
				var body written
				if err := json.Unmarshal(o.Bodies[store.Intent], &body); err != nil {
					w.t.Error(err)
				}
				for _, other := range w.nodes {
					go func() {
						time.Sleep(time.Duration(w.draw(2000)) * time.Millisecond)
						w.mu.Lock()
						stamp := n.at[o.Key]
						w.mu.Unlock()
						if now, _ := n.store.Get(o.Key); now == o {
							other.take(o.Key, stamp, body)
						}
					}()
				}
			}
		}
	}
}

func (n *islander) mine(kind, namespace, name string) bool {
	var home *islander
	var top uint32
	for _, o := range n.nodes {
		h := fnv.New32a()
		fmt.Fprint(h, kind, namespace, name, o.id)
		if o.side.Load() == n.side.Load() && (home == nil || h.Sum32() > top) {
			home, top = o, h.Sum32()
		}
	}
	return home == n
}

func (n *islander) service(name string) *v1.Service {
	o, _ := n.store.Get(store.Key{Kind: serviceKind, Namespace: "ns", Name: name})
	if o == nil {
		return nil
	}
	var body written
	if err := json.Unmarshal(o.Bodies[store.Intent], &body); err != nil {
		n.t.Error(err)
	}
	return body.Service
}

func (n *islander) has(o *store.Object) []tenure.Claim {
	var body written
	if err := json.Unmarshal(o.Bodies[store.Intent], &body); err != nil {
		n.t.Error(err)
	}
	return tenure.Of(body.Service)
}

func (n *islander) given(a tenure.Asset) bool {
	o, _ := n.store.Get(claimKey(a))
	return o != nil
}

func (n *islander) claimed(c tenure.Claim) bool { return n.given(c.Asset) }

func (n *islander) claim(_ context.Context, c tenure.Claim) error {
	n.write(claimKey(c.Asset), written{})
	return nil
}

func (n *islander) all() (out []tenure.Asset) {
	all, _, _, _ := n.store.List(store.Selector{Kind: portKind}, store.ListOptions{})
	for _, o := range all {
		a, _ := assetOf(o.Key)
		out = append(out, a)
	}
	return out
}

func (n *islander) release(_ context.Context, a tenure.Asset) error {
	n.write(claimKey(a), written{Gone: true})
	return nil
}

func (n *islander) next() tenure.Asset {
	for i, from := 0, n.draw(3*somePorts); i < 3*somePorts; i++ {
		if a := (tenure.Asset{Port: int32(lowPort + (from+i)%(3*somePorts))}); !n.given(a) {
			n.write(claimKey(a), written{})
			return a
		}
	}
	n.t.Error("no port is free")
	return tenure.Asset{}
}

func (n *islander) renumber(_ context.Context, c tenure.Claim) (tenure.Asset, bool, error) {
	if n.draw(4) == 0 {
		return tenure.Asset{}, false, fmt.Errorf("the disk is slow")
	}
	s := n.service(c.Service.Name)
	to := n.next()
	if s == nil || !tenure.Replace(s, c.Asset, to) {
		return to, false, n.release(context.Background(), to)
	}
	n.write(store.Key{Kind: serviceKind, Namespace: "ns", Name: s.Name}, written{Service: s})
	return to, true, nil
}

func (n *islander) tell(c tenure.Claim, _, reason, _ string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told[reason+" "+c.Service.Name]++
}

// create makes a Service with a port that is free here. What is asked for may be taken elsewhere.
func (n *islander) create(name string, asked bool) {
	s := &v1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), CreationTimestamp: metav1.Now()},
		Spec: v1.ServiceSpec{Ports: []v1.ServicePort{{Port: 80, Protocol: v1.ProtocolTCP}}}}
	for i, from := 0, n.draw(somePorts); i < somePorts; i++ {
		a := tenure.Asset{Port: int32(lowPort + (from+i)%somePorts)}
		if n.given(a) {
			continue
		}
		n.write(claimKey(a), written{})
		s.Spec.Ports[0].NodePort = a.Port
		break
	}
	if asked {
		s.ManagedFields = []metav1.ManagedFieldsEntry{{FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:nodePort":{}}}}}`)}}
	}
	n.write(store.Key{Kind: serviceKind, Namespace: "ns", Name: name}, written{Service: s})
}

// TestAfterAMergeEveryPortIsOneServices: two sides of two nodes each give out ports, meet, and give out more while they settle.
func TestAfterAMergeEveryPortIsOneServices(t *testing.T) {
	moved := 0
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) { moved += mergeIslands(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if moved < 40 {
		t.Errorf("only %d Services were renumbered: the test tests little", moved)
	}
}

func mergeIslands(t *testing.T, seed uint64) (moved int) {
	w := newIslands(t, 4, seed)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, n := range w.nodes {
		n.side.Store(int32(i % 2))
		k := newKeeper(n.store, n, n.mine, func() bool { return w.draw(3) > 0 }, slog.New(slog.DiscardHandler))
		running.Go(func() { _ = k.run(ctx) })
	}
	first := map[string]*v1.Service{}
	for i := range 24 {
		n := w.nodes[w.draw(4)]
		name := fmt.Sprintf("s%d", i)
		n.create(name, w.draw(4) == 0)
		first[name] = n.service(name)
		time.Sleep(time.Duration(w.draw(3000)) * time.Millisecond)
	}
	time.Sleep(10 * time.Second)
	w.heal()
	for i := range 4 { // the others go on
		time.Sleep(time.Duration(w.draw(500)) * time.Millisecond)
		name := fmt.Sprintf("late%d", i)
		n := w.nodes[w.draw(4)]
		n.create(name, false)
		first[name] = n.service(name)
	}
	w.nodes[0].write(store.Key{Kind: serviceKind, Namespace: "ns", Name: "s0"}, written{Gone: true}) // its claim stays, as after a crash
	delete(first, "s0")
	time.Sleep(10 * time.Minute)
	moved = w.judge(first)
	stop()
	running.Wait()
	return moved
}

// judge says what every node must see in the end, and counts the Services that were renumbered.
func (w *islands) judge(first map[string]*v1.Service) (moved int) {
	for _, n := range w.nodes {
		var l tenure.Ledger
		for name, was := range first {
			s := n.service(name)
			if s == nil {
				w.t.Errorf("node %d lost %s", n.id, name)
				continue
			}
			l.Set(types.NamespacedName{Namespace: "ns", Name: name}, tenure.Of(s))
			before, now := was.Spec.Ports[0].NodePort, s.Spec.Ports[0].NodePort
			if len(was.ManagedFields) > 0 && now != before {
				w.t.Errorf("node %d: %s, which asked for %d, has %d", n.id, name, before, now)
			}
			if now != w.nodes[0].service(name).Spec.Ports[0].NodePort {
				w.t.Errorf("the nodes do not agree on %s", name)
			}
			if n.id == 0 && now != before {
				moved++
				if w.told["Renumbered "+name] == 0 {
					w.t.Errorf("%s was not told", name)
				}
			}
		}
		for _, a := range l.Assets() {
			if !n.given(a) {
				w.t.Errorf("node %d: %s is in use and not claimed", n.id, a)
			}
			for _, c := range l.Claims(a)[1:] {
				if !c.Asked || w.told["Contested "+c.Service.Name] == 0 {
					w.t.Errorf("node %d: %s is %s's as well", n.id, a, c.Service)
				}
			}
		}
		for _, a := range n.all() {
			if len(l.Claims(a)) == 0 {
				w.t.Errorf("node %d: %s is claimed for nobody", n.id, a)
			}
		}
		for name, was := range first { // whoever came first among those who asked, or else among all, keeps it
			c := tenure.Of(was)[0]
			if all := l.Claims(c.Asset); len(all) > 0 && all[0].Service.Name != name && !all[0].Asked && n.service(name).Spec.Ports[0].NodePort != c.Asset.Port && all[0].Since > c.Since {
				w.t.Errorf("node %d: %s was taken from %s for %s, which is younger", n.id, c.Asset, name, all[0].Service)
			}
		}
	}
	return moved
}
