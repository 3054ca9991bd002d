package node

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	startTook  = 10 * time.Second // until the caches of a start have filled
	giveEvery  = time.Minute
	giveAtOnce = 24 << 20 // bytes: for less a collection is not worth its time
	calmCycles = 2        // collections in giveEvery; where there are more, what is free now is needed again at once
)

// giveBack returns what starting took to the system, and later what a storm left behind: the collector alone keeps the heap
// at its goal, half as much again as what lives, for as long as the process does.
func giveBack(ctx context.Context) error {
	var s surplus
	wait := time.NewTimer(startTook)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		if held, cycles := heap(); s.worth(held, cycles) {
			debug.FreeOSMemory()
			s.kept, s.cycles = heap()
		}
		wait.Reset(giveEvery)
	}
}

// surplus decides when memory is given back.
type surplus struct {
	kept   uint64 // bytes that remained the last time; 0: there was none
	cycles uint64 // collections until the last look
}

// worth tells whether to give memory back now, of held bytes and after so many collections since the process began.
func (s *surplus) worth(held, cycles uint64) bool {
	calm := cycles-s.cycles <= calmCycles
	s.cycles = cycles
	s.kept = min(s.kept, held) // the collector itself gives back, too
	return s.kept == 0 || calm && held-s.kept >= giveAtOnce
}

// heap is what the heap holds of the system's memory, and how often it was collected.
func heap() (held, cycles uint64) {
	read := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(read)
	return read[0].Value.Uint64() + read[1].Value.Uint64() + read[2].Value.Uint64(), read[3].Value.Uint64()
}
