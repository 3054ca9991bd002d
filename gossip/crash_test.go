package gossip

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestCrashIsSuspectedThenFailed(t *testing.T) {
	sizes := []int{2, 5}
	if os.Getenv("MESH_MEASURE") != "" {
		sizes = []int{2, 3, 5, 10}
	}
	for _, n := range sizes {
		t.Run(itoa(n), func(t *testing.T) {
			all := cluster(t, n)
			victim := all[n-1]
			begun := time.Now()
			victim.crash()
			for _, s := range all[:n-1] {
				s.await(victim, Suspect, 3*time.Second)
			}
			suspect := time.Since(begun)
			for _, s := range all[:n-1] {
				s.await(victim, Failed, 8*time.Second)
			}
			failed := time.Since(begun)
			t.Logf("%d members: suspect everywhere after %s, failed after %s", n, suspect.Round(time.Millisecond), failed.Round(time.Millisecond))
			if suspect > 2*time.Second || failed > 5*time.Second {
				t.Errorf("suspect after %s, failed after %s; want at most 1.5 s (2 s on a busy machine) and 5 s", suspect, failed)
			}
			for _, s := range all[:n-1] {
				if got := s.Home(tokenKey("x")); got == victim.Self().ID {
					t.Errorf("%s still calls the dead member a home", s.cfg.Name)
				}
				if s.Slow() {
					t.Errorf("%s thinks that it is slow itself", s.cfg.Name)
				}
			}
		})
	}
}

func itoa(n int) string { return strconv.Itoa(n) + " members" }
