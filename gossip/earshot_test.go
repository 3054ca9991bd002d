package gossip

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestWhoIsOutOfEarshotIsIntroducedThenHungUpOn(t *testing.T) {
	e := newEarshot()
	all, deaf := []peer.ID{"a", "b"}, []peer.ID{"a"}
	at := func(looks int) (introduced, hungUp []int) {
		for i := 1; i <= looks; i++ {
			in, up := e.look(all, deaf)
			if slices.Contains(in, "a") || slices.Contains(up, "a") {
				t.Fatal("a is in earshot")
			}
			if len(in) > 0 {
				introduced = append(introduced, i)
			}
			if len(up) > 0 {
				hungUp = append(hungUp, i)
			}
		}
		return introduced, hungUp
	}
	in, up := at(16)
	if want := []int{2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14}; !slices.Equal(in, want) {
		t.Errorf("introduced at %v, want %v", in, want)
	}
	if want := []int{5, 15}; !slices.Equal(up, want) {
		t.Errorf("hung up at %v, want %v", up, want)
	}
	if _, up := at(10_000); len(up) < 100 || len(up) > 130 {
		t.Errorf("hung up %d times in 10,000 looks", len(up))
	}
	for range patienceMost + 1 {
		e.look(all, all)
	}
	if len(e.peers) != 0 {
		t.Errorf("after a while in earshot it is still remembered: %+v", e.peers)
	}
	e.look(all, deaf)
	for range patienceMost {
		e.look(deaf, deaf) // it is away
	}
	if len(e.peers) != 0 {
		t.Errorf("who is away is remembered for ever: %+v", e.peers)
	}
}

// TestGossipReachesADaemonThatStartsAgainAndAgain: gossipsub alone gives it up after the fourth time.
func TestGossipReachesADaemonThatStartsAgainAndAgain(t *testing.T) {
	all := cluster(t, 3)
	victim := all[2]
	for range 6 {
		victim.crash()
		victim.end()
		cfg := victim.cfg
		cfg.wire = &wire{}
		victim = start(t, cfg)
		for _, s := range all[:2] {
			victim.await(s, Alive, 20*time.Second)
			s.await(victim, Alive, 20*time.Second)
		}
	}
	all[2] = victim
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for missing := "?"; missing != ""; {
		missing = ""
		for _, s := range all {
			for _, o := range all {
				if id := o.link().host.ID(); s != o && !slices.Contains(s.link().spread.topic.ListPeers(), id) {
					missing += fmt.Sprintf(" %s→%s", s.cfg.Name, o.cfg.Name)
				}
			}
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("gossip does not reach%s", missing)
		}
	}
}
