package api

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/api/replica"
	"github.com/orpheus-mesh/orpheus/node/tenure"
)

const (
	keeperRetry = time.Second // before what could not be settled is looked at anew; half as long again at random
	keeperSweep = time.Minute // between looks at everything, for homes that moved and claims that nobody has
	// strayAge is how long a claim may be without a Service before it is released: longer than the request that makes both.
	strayAge = 2 * requestTimeout
	// settleTimeout bounds the writes about one asset.
	settleTimeout = 10 * time.Second
)

// keeper sees to it that no two Services have one address or node port, and that the claims say who has what. It is
// level-triggered: events only mark what is to be looked at.
//
//	claimed by nobody               a claim that stays so for long is released
//	by one Service                  its home sees to the claim
//	by more: they were merged       the holder keeps it (see tenure); the home of each other one
//	                                gives that another, or where somebody asked for the value leaves it and says so
//
// Until then whoever serves traffic gives the asset to the holder alone.
type keeper struct {
	store  replica.Store
	estate estate
	mine   func(kind, namespace, name string) bool
	sure   func() bool
	log    *slog.Logger

	mu     sync.Mutex // guards what follows
	ledger tenure.Ledger
	due    map[tenure.Asset]struct{}
	wake   chan struct{}

	stray map[tenure.Asset]time.Time // claims that nobody has, since when; of work alone, like what follows
	told  map[tenure.Asset]types.UID // losers that were told that they go without
}

// estate is what the keeper needs done. Its methods may block for as long as a write.
type estate interface {
	has(o *store.Object) []tenure.Claim // of a Service
	claimed(c tenure.Claim) bool        // for this Service
	claim(ctx context.Context, c tenure.Claim) error
	all() []tenure.Asset       // that an allocator claimed, for whomever
	given(a tenure.Asset) bool // is one of them
	release(ctx context.Context, a tenure.Asset) error
	// renumber gives the Service another asset in the place of this one. moved is false where it no longer had it.
	renumber(ctx context.Context, c tenure.Claim) (to tenure.Asset, moved bool, err error)
	tell(c tenure.Claim, kind, reason, message string)
}

func newKeeper(st replica.Store, e estate, mine func(kind, namespace, name string) bool, sure func() bool, log *slog.Logger) *keeper {
	return &keeper{store: st, estate: e, mine: mine, sure: sure, log: log, due: map[tenure.Asset]struct{}{}, wake: make(chan struct{}, 1),
		stray: map[tenure.Asset]time.Time{}, told: map[tenure.Asset]types.UID{}}
}

func (k *keeper) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.follow(ctx, serviceKind, k.begin, k.changed) })
	for _, kind := range []string{addressKind, portKind} {
		g.Go(func() error { return k.follow(ctx, kind, func([]*store.Object) {}, k.claimChanged) })
	}
	g.Go(func() error { return k.work(ctx) })
	return g.Wait()
}

// follow hands over every object of a kind, then every change, from the start again where it fell behind.
func (k *keeper) follow(ctx context.Context, kind string, begin func([]*store.Object), each func(store.Event)) error {
	for {
		err := k.once(ctx, kind, begin, each)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.log.Warn("who has which address and port is read anew", "kind", kind, "err", err)
		if err := idle(ctx, keeperRetry, nil); err != nil {
			return err
		}
	}
}

func (k *keeper) once(ctx context.Context, kind string, begin func([]*store.Object), each func(store.Event)) error {
	sub, err := k.store.Subscribe(store.Selector{Kind: kind}, 0, true)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", kind, err)
	}
	defer sub.Close()
	begin(sub.Initial)
	for {
		batch, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range batch {
			each(e)
		}
	}
}

func (k *keeper) begin(all []*store.Object) {
	k.mu.Lock()
	old := k.ledger.Assets()
	k.ledger = tenure.Ledger{}
	k.mu.Unlock()
	k.mark(old...)
	for _, o := range all {
		k.enter(o.Key, o)
	}
}

func (k *keeper) changed(e store.Event) {
	switch {
	case e.New == nil:
		k.enter(e.Old.Key, nil)
	case e.Old == nil || e.Old.UID != e.New.UID || !bytes.Equal(e.Old.Bodies[store.Intent], e.New.Bodies[store.Intent]):
		k.enter(e.New.Key, e.New)
	}
}

func (k *keeper) enter(key store.Key, o *store.Object) {
	var has []tenure.Claim
	if o != nil {
		has = k.estate.has(o)
	}
	k.mu.Lock()
	touched := k.ledger.Set(types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, has)
	k.mu.Unlock()
	k.mark(touched...)
}

func (k *keeper) claimChanged(e store.Event) {
	o := e.New
	if o == nil {
		o = e.Old
	}
	if a, ok := assetOf(o.Key); ok {
		k.mark(a)
	}
}

// mark puts assets on the list of work.
func (k *keeper) mark(all ...tenure.Asset) {
	if len(all) == 0 {
		return
	}
	k.mu.Lock()
	for _, a := range all {
		k.due[a] = struct{}{}
	}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) work(ctx context.Context) error {
	sweep := time.NewTicker(keeperSweep)
	defer sweep.Stop()
	for {
		pause := keeperSweep
		if k.round(ctx) {
			pause = keeperRetry + rand.N(keeperRetry/2)
		}
		if err := idle(ctx, pause, k.wake); err != nil {
			return err
		}
		select {
		case <-sweep.C:
			k.mark(k.everything()...)
		default:
		}
	}
}

// idle waits for a while, or until wake or ctx's end.
func idle(ctx context.Context, pause time.Duration, wake <-chan struct{}) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wake:
	case <-t.C:
	}
	return nil
}

func (k *keeper) everything() []tenure.Asset {
	k.mu.Lock()
	held := k.ledger.Assets()
	k.mu.Unlock()
	return append(k.estate.all(), held...)
}

// round looks at all that is due and tells whether something has to be looked at again soon.
func (k *keeper) round(ctx context.Context) (again bool) {
	k.mu.Lock()
	due := k.due
	k.due = map[tenure.Asset]struct{}{}
	k.mu.Unlock()
	for a := range due {
		if ctx.Err() != nil {
			return false
		}
		call, cancel := context.WithTimeout(ctx, settleTimeout)
		settled := k.settle(call, a)
		cancel()
		if !settled {
			again = true
			k.mu.Lock()
			k.due[a] = struct{}{}
			k.mu.Unlock()
		}
	}
	return again
}

func (k *keeper) settle(ctx context.Context, a tenure.Asset) (settled bool) {
	k.mu.Lock()
	claims := k.ledger.Claims(a)
	k.mu.Unlock()
	if len(claims) == 0 {
		k.reclaim(ctx, a)
		return true
	}
	delete(k.stray, a)
	holder := claims[0]
	if k.home(holder) && !k.estate.claimed(holder) {
		if err := k.estate.claim(ctx, holder); err != nil {
			k.log.Debug("what a Service has is not claimed", "asset", a, "service", holder.Service, "err", err)
		}
	}
	if len(claims) == 1 {
		delete(k.told, a)
		return true
	}
	settled = true
	for _, loser := range claims[1:] {
		if loser.Asked {
			k.goWithout(loser, holder)
			continue
		}
		settled = false // until its home has given it another
		k.move(ctx, loser, holder)
	}
	return settled
}

// home tells whether this node looks after a Service.
func (k *keeper) home(c tenure.Claim) bool {
	return k.mine(serviceKind, c.Service.Namespace, c.Service.Name)
}

func (k *keeper) move(ctx context.Context, loser, holder tenure.Claim) {
	if !k.home(loser) || !k.sure() {
		return
	}
	to, moved, err := k.estate.renumber(ctx, loser)
	if err != nil {
		k.log.Warn("a Service is not renumbered yet", "service", loser.Service, "asset", loser.Asset, "holder", holder.Service, "err", err)
		return
	}
	if moved {
		k.log.Info("a Service is renumbered", "service", loser.Service, "from", loser.Asset, "to", to, "holder", holder.Service)
		k.estate.tell(loser, v1.EventTypeWarning, "Renumbered", fmt.Sprintf("%s is now %s: Service %s keeps the former. Both had it, for two sides of a broken network gave it out",
			loser.Asset, to.Value(), holder.Service))
	}
}

func (k *keeper) goWithout(loser, holder tenure.Claim) {
	if !k.home(loser) || k.told[loser.Asset] == loser.UID {
		return
	}
	k.told[loser.Asset] = loser.UID
	k.estate.tell(loser, v1.EventTypeWarning, "Contested", fmt.Sprintf("%s is not served for this Service: Service %s, which asked for it as well, keeps it. To settle it, %s",
		loser.Asset, holder.Service, Mend(tenure.Dispute{Holder: holder, Loser: loser})))
}

// Mend says what a person can do about a dispute.
func Mend(d tenure.Dispute) string {
	if d.Loser.Asset.Addr.IsValid() {
		return fmt.Sprintf("delete %s or %s, and create it anew with another address or none", d.Loser.Service, d.Holder.Service)
	}
	return fmt.Sprintf("give %s or %s another port", d.Loser.Service, d.Holder.Service)
}

// reclaim releases a claim that no Service has had for long: one that a crash left, or a sibling of a Service's two creations.
func (k *keeper) reclaim(ctx context.Context, a tenure.Asset) {
	since, known := k.stray[a]
	switch {
	case !k.estate.given(a):
		delete(k.stray, a)
	case !known:
		k.stray[a] = time.Now()
	case time.Since(since) < strayAge || !k.sure() || !k.mine(claimKey(a).Kind, "", claimKey(a).Name):
	default:
		if err := k.estate.release(ctx, a); err != nil {
			k.log.Debug("a claim that nobody has is not released yet", "asset", a, "err", err)
			return
		}
		delete(k.stray, a)
		k.log.Info("a claim that no Service has is released", "asset", a)
	}
}

// disputes lists what waits for a person.
func (k *keeper) disputes() []tenure.Dispute {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ledger.Disputes()
}
