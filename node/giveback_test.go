package node

import "testing"

func TestMemoryIsGivenBackInCalmTimes(t *testing.T) {
	const mb = 1 << 20
	var s surplus
	gave := func(held uint64) { s.kept = held }
	for i, step := range []struct {
		held, cycles uint64
		want         bool
		left         uint64
	}{
		{170 * mb, 40, true, 110 * mb},   // the start
		{120 * mb, 41, false, 0},         // too little
		{160 * mb, 60, false, 0},         // a storm
		{160 * mb, 61, true, 112 * mb},   // it is over
		{130 * mb, 62, false, 0},         // too little
		{100 * mb, 63, false, 0},         // the collector gave back
		{124 * mb, 64, true, 101 * mb},   // measured from there
		{124 * mb, 1000, false, 0},       // busy
		{124 * mb, 1001, false, 0},       // calm, and 23 MB
		{125 * mb, 1003, true, 100 * mb}, // calm, and 24 MB
	} {
		if got := s.worth(step.held, step.cycles); got != step.want {
			t.Fatalf("step %d: %t", i, got)
		}
		if step.want {
			gave(step.left)
		}
	}
	if held, _ := heap(); held == 0 {
		t.Error("the heap holds nothing")
	}
}
