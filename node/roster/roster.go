package roster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/orpheus-mesh/orpheus/gossip"
	"github.com/orpheus-mesh/orpheus/gossip/store"
	"github.com/orpheus-mesh/orpheus/node/amend"
)

// Replica is the part of the store that cards live in.
type Replica interface {
	Get(store.Key) (*store.Object, store.Revision)
	List(store.Selector, store.ListOptions) ([]*store.Object, store.Revision, int, error)
	Subscribe(sel store.Selector, from store.Revision, snapshot bool) (*store.Subscription, error)
	Write(context.Context, store.Write) (*store.Object, error)
}

// Roster reads all cards and writes this server's own. Its methods may be called from any goroutine.
type Roster struct{ replica Replica }

// New reads and writes cards in the replica.
func New(r Replica) *Roster { return &Roster{r} }

// Cards lists every card that this server knows, in order of ID. Cards that cannot be read are left out: they come from a
// newer version.
func (r *Roster) Cards() []Card {
	objs, _, _, err := r.replica.List(store.Selector{Kind: Kind}, store.ListOptions{})
	if err != nil {
		return nil
	}
	cards := make([]Card, 0, len(objs))
	for _, o := range objs {
		var c Card
		if json.Unmarshal(o.Bodies[store.Intent], &c) == nil && string(c.ID) == o.Name {
			cards = append(cards, c)
		}
	}
	return cards
}

// ByID finds a server's card.
func (r *Roster) ByID(id gossip.ID) (Card, bool) {
	o, _ := r.replica.Get(store.Key{Kind: Kind, Name: string(id)})
	if o == nil {
		return Card{}, false
	}
	var c Card
	err := json.Unmarshal(o.Bodies[store.Intent], &c)
	return c, err == nil
}

// ByName finds the card of a Kubernetes node. Of two cards of one name (a server that was set up anew) the later slot
// claim is the living one.
func (r *Roster) ByName(name string) (found Card, ok bool) {
	for _, c := range r.Cards() {
		if c.Name == name && (!ok || c.SlotSince.After(found.SlotSince)) {
			found, ok = c, true
		}
	}
	return found, ok
}

// Publish writes this server's card where it differs from what is known.
func (r *Roster) Publish(ctx context.Context, c Card) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	err = amend.Object(ctx, r.replica, store.Key{Kind: Kind, Name: string(c.ID)}, false, func(base *store.Object) ([]byte, error) {
		if base != nil && bytes.Equal(base.Bodies[store.Intent], body) {
			return nil, nil
		}
		return body, nil
	})
	if err != nil {
		return fmt.Errorf("publish the card of %s: %w", c.Name, err)
	}
	return nil
}

// Watch calls changed after every batch of changes of cards, until ctx ends.
func (r *Roster) Watch(ctx context.Context, changed func()) error {
	for ctx.Err() == nil {
		sub, err := r.replica.Subscribe(store.Selector{Kind: Kind}, 0, true)
		if err != nil {
			return fmt.Errorf("watch cards: %w", err)
		}
		changed()
		for {
			if _, err := sub.Next(ctx); err != nil {
				break
			}
			changed()
		}
		sub.Close()
	}
	return nil
}
