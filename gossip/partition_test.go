package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	// memberlist does not wait for its last probe, which ends within probeInterval times the awareness multiplier.
	leak := goleak.Find()
	for begun := time.Now(); leak != nil && time.Since(begun) < 4*time.Second; {
		leak = goleak.Find()
	}
	if leak != nil && code == 0 {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// split cuts the wires between two groups; packets within a group pass.
func split(left, right []*server) {
	cut := func(side, other []*server) {
		var far []netip.AddrPort
		for _, o := range other {
			far = append(far, o.Self().Addr)
		}
		for _, s := range side {
			s.cfg.wire.set(func(a netip.AddrPort) bool { return slices.Contains(far, a) })
		}
	}
	cut(left, right)
	cut(right, left)
}

func heal(all []*server) {
	for _, s := range all {
		s.cfg.wire.set(nil)
	}
}

func TestPartitionHeals(t *testing.T) {
	all := cluster(t, 4)
	left, right := all[:2], all[2:]
	split(left, right)
	for _, l := range left {
		for _, r := range right {
			l.await(r, Failed, 10*time.Second)
			r.await(l, Failed, 10*time.Second)
		}
	}
	for i := range 20 {
		left[i%2].put(fmt.Sprintf("left-%d", i), "l")
		right[i%2].put(fmt.Sprintf("right-%d", i), "r")
	}
	begun := time.Now()
	heal(all)
	for _, s := range all {
		for _, o := range all {
			s.await(o, Alive, 10*time.Second)
		}
	}
	sighted := time.Since(begun)
	agree(t, 10*time.Second, all...)
	t.Logf("after the heal: all alive in %s, stores equal in %s", sighted.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	for _, s := range all {
		s.until(settleSpan, s.cfg.Name+" to settle", s.Settled)
		s.sees("left-19", "l", time.Second)
		s.sees("right-19", "r", time.Second)
	}
}

func TestCrashedServerComesBack(t *testing.T) {
	all := cluster(t, 3)
	victim := all[2]
	victim.crash()
	for _, s := range all[:2] {
		s.await(victim, Failed, 10*time.Second)
	}
	victim.end()
	all[0].put("meanwhile", "news")
	victim.cfg.wire = &wire{}
	again := start(t, victim.cfg)
	again.sees("meanwhile", "news", 10*time.Second)
	for _, s := range all[:2] {
		s.await(again, Alive, 10*time.Second)
		again.await(s, Alive, 10*time.Second)
	}
	agree(t, 10*time.Second, all[0], all[1], again)
}

func TestRestartIsNoDeath(t *testing.T) {
	all := cluster(t, 3)
	died := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wake, stop := all[0].Watch()
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-wake:
				if s, _ := all[0].stateOf(all[2].Self().ID); s == Failed {
					close(died)
					return
				}
			}
		}
	}()
	all[2].end()
	all[0].await(all[2], Suspect, benefit+5*time.Second) // its pods run on meanwhile and keep their traffic
	select {
	case <-time.After(5 * time.Second): // longer than a crash takes to be found
	case <-died:
	}
	again := start(t, all[2].cfg)
	all[0].await(again, Alive, 10*time.Second)
	cancel()
	<-done
	select {
	case <-died:
		t.Error("a daemon that said that it restarts was called dead")
	default:
	}
}

func TestLeaveIsNoCrash(t *testing.T) {
	all := cluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := all[2].Leave(ctx); err != nil {
		t.Fatal(err)
	}
	all[2].end()
	for _, s := range all[:2] {
		s.await(all[2], Left, 5*time.Second)
	}
	again := start(t, all[2].cfg)
	for _, s := range all[:2] {
		s.await(again, Alive, 10*time.Second)
		again.await(s, Alive, 10*time.Second)
	}
}

// A host that hears nothing for 2 s, again and again, while another loses a fifth of its packets: nobody may be called dead.
func TestLossAndFreezeKillNobody(t *testing.T) {
	all := cluster(t, 4)
	all[3].cfg.wire.set(func(netip.AddrPort) bool { return rand.Float64() < 0.2 })
	ctx, cancel := context.WithCancel(t.Context())
	verdicts := make(chan string, 100)
	done := make(chan struct{})
	for _, s := range all {
		wake, stop := s.Watch()
		go func() {
			defer func() { stop(); done <- struct{}{} }()
			for {
				select {
				case <-ctx.Done():
					return
				case <-wake:
					for _, m := range s.Members() {
						if m.State == Failed {
							verdicts <- s.cfg.Name + " calls " + m.Name + " failed"
						}
					}
				}
			}
		}()
	}
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		all[2].cfg.wire.set(func(netip.AddrPort) bool { return true })
		time.Sleep(2 * time.Second) // the freeze itself, in real time
		all[2].cfg.wire.set(nil)
		for _, s := range all[:2] {
			s.await(all[2], Alive, 10*time.Second)
		}
		time.Sleep(time.Second)
	}
	cancel()
	for range all {
		<-done
	}
	close(verdicts)
	for v := range verdicts {
		t.Error(v)
	}
}
