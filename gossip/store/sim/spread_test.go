package sim

import (
	"testing"
	"time"
)

// TestSpread: a write reaches half of a large mesh within a second and the last node within a minute, also where messages get
// lost. With -short the mesh is smaller.
func TestSpread(t *testing.T) {
	n, writes := 1000, 8
	if testing.Short() {
		n = 150
	}
	s, err := Measure(1, n, writes, 0.01)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", s)
	if s.Median > time.Second || s.Last > time.Minute {
		t.Fatalf("too slow: %+v", s)
	}
	if s.Write > 50_000 || s.Idle > 4000 { // a write of 2 KB, some twenty times; and what reconciliations of equal stores tell
		t.Fatalf("too talkative: %+v", s)
	}
	// Without gossip, reconciliation alone carries them: so the figures are not an accident of the model.
	if s, err = Measure(1, 60, 3, 1); err != nil || s.Repaired == 0 || s.Last > time.Minute {
		t.Fatalf("with all gossip lost: %+v, %v", s, err)
	}
}
