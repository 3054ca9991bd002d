package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store"
)

const tokenKind = "mesh/tokens"

// registry is the part of the store that holds the tokens.
type registry interface {
	Get(k store.Key) (*store.Object, store.Revision)
	Write(ctx context.Context, w store.Write) (*store.Object, error)
	List(sel store.Selector, o store.ListOptions) ([]*store.Object, store.Revision, int, error)
}

// tokenRecord is the replicated state of a token, so that every member can redeem it.
type tokenRecord struct {
	Expiry int64 `json:"expiry"`           // seconds since 1970
	UsedBy ID    `json:"usedBy,omitempty"` // who redeemed it
	UsedAt int64 `json:"usedAt,omitempty"`
}

func tokenKey(name string) store.Key { return store.Key{Kind: tokenKind, Name: name} }

func recordToken(ctx context.Context, r registry, t token) error {
	body, err := json.Marshal(tokenRecord{Expiry: t.expiry.Unix()})
	if err != nil {
		return err
	}
	_, err = r.Write(ctx, store.Write{Key: tokenKey(tokenName(t.secret[:])), Body: body, Human: true})
	return err
}

// redeem marks the token of this secret as used by id. Two members may race for one token: the store lets one of them write
// against the revision it read, the other reads again and refuses.
func redeem(ctx context.Context, r registry, secret []byte, id ID, now time.Time) error {
	key := tokenKey(tokenName(secret))
	for range 4 {
		obj, _ := r.Get(key)
		if obj == nil {
			return ErrTokenInvalid
		}
		var rec tokenRecord
		if err := json.Unmarshal(obj.Bodies[store.Intent], &rec); err != nil {
			return fmt.Errorf("read the token's record: %w", err)
		}
		again, err := rec.allows(id, now)
		if err != nil || again {
			return err
		}
		more, err := unknown(obj.Bodies[store.Intent], rec)
		if err != nil {
			return fmt.Errorf("read the token's record: %w", err)
		}
		rec.UsedBy, rec.UsedAt = id, now.Unix()
		body, err := beside(rec, more)
		if err != nil {
			return err
		}
		_, err = r.Write(ctx, store.Write{Key: key, Body: body, Base: obj, Human: true, Head: obj.Head})
		if err == nil || !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return store.ErrConflict
}

// allows tells whether id may use the token, and whether it is the one that did a moment ago.
func (r tokenRecord) allows(id ID, now time.Time) (again bool, err error) {
	switch {
	case r.UsedBy == id && now.Sub(time.Unix(r.UsedAt, 0)) < redeemSpan:
		return true, nil
	case r.UsedBy != "":
		return false, ErrTokenUsed
	case now.Unix() >= r.Expiry:
		return false, ErrTokenExpired
	}
	return false, nil
}

// sweepTokens deletes records that can admit nobody any more.
func sweepTokens(ctx context.Context, r registry, mine func(store.Key) bool, now time.Time) error {
	objs, _, _, err := r.List(store.Selector{Kind: tokenKind}, store.ListOptions{})
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	for _, o := range objs {
		var rec tokenRecord
		stale := json.Unmarshal(o.Bodies[store.Intent], &rec) != nil || now.Sub(time.Unix(rec.Expiry, 0)) > keepTokens
		if !stale || !mine(o.Key) {
			continue
		}
		if _, err := r.Write(ctx, store.Write{Key: o.Key, Op: store.Delete, Base: o, Human: true}); err != nil {
			return fmt.Errorf("delete token %s: %w", o.Name, err)
		}
	}
	return nil
}
