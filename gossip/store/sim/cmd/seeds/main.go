// Seeds runs histories of package sim: one with its trace, or very many, going on where an earlier run stopped.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orpheus-mesh/orpheus/gossip/store/sim"
)

func main() {
	seed := flag.Int64("seed", -1, "run this seed alone")
	trace := flag.Bool("trace", false, "with -seed: print all that happens")
	from := flag.Uint64("from", 0, "the first seed")
	count := flag.Uint64("count", 1000, "how many seeds")
	workers := flag.Int("workers", 1, "histories at a time")
	first := flag.Bool("first", false, "stop at the first broken promise")
	state := flag.String("state", "", "file that remembers how far a run came, so that the next one goes on there")
	flag.Parse()
	debug.SetGCPercent(800) // a history is small and soon over
	var err error
	if *seed >= 0 {
		err = one(uint64(*seed), *trace)
	} else {
		err = many(*from, *count, *workers, *first, *state)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func one(seed uint64, trace bool) error {
	var out *bufio.Writer
	var to io.Writer
	if trace {
		out = bufio.NewWriter(os.Stdout)
		to = out
	}
	rep, fault := sim.Run(seed, to)
	var err error
	if trace {
		err = out.Flush()
	} else if fault == nil {
		_, err = fmt.Printf("%+v\n", rep)
	}
	if fault != nil {
		err = errors.Join(fault, err)
	}
	return err
}

// many runs seeds in order, on several workers, and tells about all faults.
func many(from, count uint64, workers int, first bool, state string) error {
	end := from + count
	done := resume(state, from)
	var next atomic.Uint64
	next.Store(done)
	var mu sync.Mutex // guards what follows
	faults, steps, acked, slowest := 0, 0, 0, time.Duration(0)
	var followed sim.Followed
	began := time.Now()
	finished := map[uint64]bool{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				s := next.Add(1) - 1
				if s >= end {
					return
				}
				rep, fault := sim.Run(s, nil)
				mu.Lock()
				steps, acked, slowest = steps+rep.Steps, acked+rep.Acked, max(slowest, rep.Converged)
				followed.Add(rep.Followed)
				if fault != nil {
					faults++
					fmt.Println(fault)
					if first {
						next.Store(end)
					}
				}
				for finished[s] = true; finished[done]; done++ {
					delete(finished, done)
				}
				if done%500 == 0 && len(finished) == 0 {
					fmt.Fprintf(os.Stderr, "%d of %d seeds, %d faults, %s\n", done-from, count, faults, time.Since(began).Round(time.Second))
					remember(state, done)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	remember(state, done)
	fmt.Printf("%d seeds from %d: %d broken promises, %d steps, %d acknowledged writes, slowest convergence %s, %s\n",
		done-from, from, faults, steps, acked, slowest.Round(time.Millisecond), time.Since(began).Round(time.Second))
	fmt.Printf("followed to the end: %+v\n", followed)
	if faults > 0 {
		return errors.New("promises were broken")
	}
	return nil
}

func resume(state string, from uint64) uint64 {
	b, err := os.ReadFile(state)
	if err != nil {
		return from
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n < from {
		return from
	}
	return n
}

func remember(state string, done uint64) {
	if state != "" {
		if err := os.WriteFile(state, []byte(strconv.FormatUint(done, 10)), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "could not remember:", err)
		}
	}
}
