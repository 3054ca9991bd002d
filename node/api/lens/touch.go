package lens

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
)

// pods and nodes are the kinds that the lens changes.
const (
	pods  = "core/pods"
	nodes = "core/nodes"
)

// Toucher gives pods and their Node a new revision whenever the lens begins to show them differently, so that watchers
// look again. It keeps an index of pods by host, by the store's own events.
type Toucher struct {
	Store  replica.Store
	Live   Liveness
	Wake   <-chan struct{}                     // after any change of Live
	HostOf func(o *store.Object) (node string) // of a pod; "" where it has none or can't be read
	Log    *slog.Logger

	pods  map[string]sets.Set[store.Key] // by host; owned by Run
	hosts map[store.Key]string
	state map[string]gossip.State // what watchers were told last, by node
}

// relistAfter is the pause before a broken subscription is taken up anew.
const relistAfter = time.Second

// Run works until ctx ends.
func (t *Toucher) Run(ctx context.Context) error {
	t.state = map[string]gossip.State{}
	for {
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.Log.Warn("the index of pods by host starts anew", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(relistAfter):
		}
	}
}

// follow keeps the index by one subscription.
func (t *Toucher) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := t.Store.Subscribe(store.Selector{Kind: pods}, 0, true)
	if err != nil {
		return fmt.Errorf("subscribe to pods: %w", err)
	}
	defer sub.Close()
	t.pods, t.hosts = map[string]sets.Set[store.Key]{}, map[store.Key]string{}
	for _, o := range sub.Initial {
		t.index(o.Key, o)
	}
	t.compare()
	events := make(chan []store.Event)
	broken := make(chan error, 1)
	go func() {
		for {
			batch, err := sub.Next(ctx)
			if err != nil {
				broken <- err
				return
			}
			select {
			case events <- batch:
			case <-ctx.Done():
				broken <- ctx.Err()
				return
			}
		}
	}()
	for {
		select {
		case batch := <-events:
			t.apply(batch)
		case <-t.Wake:
			t.compare()
		case err := <-broken:
			if errors.Is(err, store.ErrCompacted) {
				err = fmt.Errorf("fell too far behind: %w", err)
			}
			return err
		}
	}
}

func (t *Toucher) apply(batch []store.Event) {
	for _, e := range batch {
		if e.New == nil {
			t.index(e.Old.Key, nil)
		} else if e.Old == nil || !bytes.Equal(e.Old.Bodies[store.Intent], e.New.Bodies[store.Intent]) {
			t.index(e.New.Key, e.New)
		}
	}
}

func (t *Toucher) index(k store.Key, o *store.Object) {
	host := ""
	if o != nil {
		host = t.HostOf(o)
	}
	was := t.hosts[k]
	if was == host {
		return
	}
	if was != "" {
		t.pods[was].Delete(k)
		if t.pods[was].Len() == 0 {
			delete(t.pods, was)
		}
		delete(t.hosts, k)
	}
	if host != "" {
		if t.pods[host] == nil {
			t.pods[host] = sets.New[store.Key]()
		}
		t.pods[host].Insert(k)
		t.hosts[k] = host
	}
}

// compare asks for the state of every host that has a pod or a Node, and touches what shows differently now. It runs
// after every change of membership: with a thousand nodes, a thousand look-ups.
func (t *Toucher) compare() {
	seen := sets.KeySet(t.pods)
	if all, _, _, err := t.Store.List(store.Selector{Kind: nodes}, store.ListOptions{}); err == nil {
		for _, n := range all {
			seen.Insert(n.Name)
		}
	}
	for _, node := range sets.List(seen) {
		state, _ := t.Live.Host(node)
		if t.state[node] == state {
			continue
		}
		t.state[node] = state
		keys := t.pods[node].UnsortedList()
		slices.SortFunc(keys, func(a, b store.Key) int {
			return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
		})
		t.Store.Touch(append(keys, store.Key{Kind: nodes, Name: node})...)
	}
}
