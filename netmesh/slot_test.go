package netmesh

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var podNetwork = netip.MustParsePrefix("10.32.0.0/12")

func moment(n int) time.Time { return time.Unix(int64(n), 0) }

// TestClaimsConverge starts servers with any claims, also equal ones, and lets them all decide at once, round by round,
// each seeing what all published before. In the end every slot is unique, and whoever won a slot never moved again.
func TestClaimsConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(20, 24).Draw(t, "bits") // from 256 slots up
		n := rapid.IntRange(1, 60).Draw(t, "servers")
		claims := make([]Claimed, n)
		for i := range claims {
			claims[i] = Claimed{fmt.Sprintf("server-%d", i), uint32(rapid.IntRange(0, 8).Draw(t, "slot")), moment(rapid.IntRange(0, 5).Draw(t, "since"))}
		}
		winners := map[string]uint32{}
		for _, c := range claims {
			best := c
			for _, o := range claims {
				if o.Slot == c.Slot && older(o, best) {
					best = o
				}
			}
			winners[best.ID] = best.Slot
		}
		for slot, id := range Holders(claims) {
			if winners[id] != slot {
				t.Fatalf("slot %d is held by %s, whose claim is not the oldest", slot, id)
			}
		}
		settled := false
		for round := 0; !settled && round < n+2; round++ {
			settled = true
			next := make([]Claimed, n)
			for i, c := range claims {
				slot, changed, err := Claim(podNetwork, bits, c.ID, claims)
				if err != nil {
					t.Fatal(err)
				}
				next[i] = c
				if changed {
					next[i] = Claimed{c.ID, slot, moment(100 + round)}
					settled = false
				} else if slot != c.Slot {
					t.Fatalf("%s moved from %d to %d without saying so", c.ID, c.Slot, slot)
				}
			}
			claims = next
		}
		if !settled {
			t.Fatal("the servers still move")
		}
		seen := map[uint32]string{}
		for _, c := range claims {
			if other, taken := seen[c.Slot]; taken {
				t.Fatalf("%s and %s both hold slot %d", c.ID, other, c.Slot)
			}
			seen[c.Slot] = c.ID
			if slot, won := winners[c.ID]; won && slot != c.Slot {
				t.Fatalf("%s held slot %d by the oldest claim and was moved to %d", c.ID, slot, c.Slot)
			}
		}
	})
}

func TestClaimFillsTheLastSlotAndThenSaysSo(t *testing.T) {
	small := netip.MustParsePrefix("10.0.0.0/20") // 16 slots
	var known []Claimed
	for i := range 16 {
		id := fmt.Sprint("s", i)
		slot, changed, err := Claim(small, 24, id, known)
		if err != nil || !changed {
			t.Fatalf("server %d of 16: %v", i, err)
		}
		known = append(known, Claimed{id, slot, moment(i)})
	}
	if _, _, err := Claim(small, 24, "one too many", known); !errors.Is(err, ErrNoSlot) {
		t.Errorf("the 17th server: %v, want %v", err, ErrNoSlot)
	}
}

func TestClaimOfASlotThatIsNotThere(t *testing.T) {
	slot, changed, err := Claim(podNetwork, 24, "a", []Claimed{{"a", 4096, moment(1)}})
	if err != nil || !changed || slot >= 4096 {
		t.Errorf("slot %d, changed %v, %v: want a new slot below 4096", slot, changed, err)
	}
}

func TestCandidatesSpread(t *testing.T) {
	seen := map[uint32]int{}
	for i := range 4096 {
		seen[candidate(fmt.Sprintf("12D3KooW%d", i), 0)%4096]++
	}
	if len(seen) < 2450 || len(seen) > 2720 { // 1-1/e of 4096 is 2589
		t.Errorf("4096 servers like %d different slots first, a fair hash gives about 2589", len(seen))
	}
}

func TestCIDR(t *testing.T) {
	for _, c := range []struct {
		slot uint32
		want string
	}{{0, "10.32.0.0/24"}, {1, "10.32.1.0/24"}, {256, "10.33.0.0/24"}, {4095, "10.47.255.0/24"}, {4096, "invalid Prefix"}} {
		if got := CIDR(podNetwork, 24, c.slot).String(); got != c.want {
			t.Errorf("slot %d: %s, want %s", c.slot, got, c.want)
		}
	}
	if got := Gateway(CIDR(podNetwork, 24, 7)).String(); got != "10.32.7.1" {
		t.Errorf("gateway of slot 7: %s", got)
	}
}
