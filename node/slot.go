package node

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/orpheus-mesh/orpheus/netmesh"
	"github.com/orpheus-mesh/orpheus/node/roster"
)

// registrar keeps this server's card true: who it is, where it is reached and which slot of the pod network it holds.
type registrar struct {
	roster *roster.Roster
	pods   netip.Prefix
	log    *slog.Logger
	card   roster.Card

	numbered bool // every pod here was seen to have an address of the present slot
}

// settle claims a slot against all claims known now and publishes the card. The slot is this server's also where the card
// could not be published: then settle again.
func (r *registrar) settle(ctx context.Context) error {
	if own, ok := r.roster.ByID(r.card.ID); ok && r.card.SlotSince.IsZero() {
		r.card.Slot, r.card.SlotSince = own.Slot, own.SlotSince // what a former life of the daemon claimed
	}
	slot, changed, err := netmesh.Claim(r.pods, slotBits, string(r.card.ID), r.claims())
	if err != nil {
		return err
	}
	if changed || r.card.SlotSince.IsZero() {
		r.log.Info("slot of the pod network claimed", "slot", slot, "before", r.card.Slot)
		r.card.Slot, r.card.SlotSince = slot, time.Now().UTC().Truncate(time.Millisecond)
		r.numbered = false
	}
	return r.roster.Publish(ctx, r.card)
}

// claims are the slots of all servers as their cards claim them.
func (r *registrar) claims() (out []netmesh.Claimed) {
	for _, c := range r.roster.Cards() {
		out = append(out, netmesh.Claimed{ID: string(c.ID), Slot: c.Slot, Since: c.SlotSince})
	}
	return out
}
