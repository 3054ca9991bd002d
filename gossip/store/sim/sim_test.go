package sim

import (
	"bytes"
	"flag"
	"os"
	"runtime/debug"
	"testing"
	"time"
)

var (
	seed  = flag.Uint64("seed", 0, "replay this seed with its trace")
	count = flag.Uint64("seeds", 1000, "how many seeds TestSeeds runs")
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // a history is small and soon over
	os.Exit(m.Run())
}

// TestSeed replays one history: go test ./gossip/store/sim -run 'TestSeed$' -v -seed N
func TestSeed(t *testing.T) {
	var trace bytes.Buffer
	_, fault := Run(*seed, &trace)
	if testing.Verbose() {
		t.Logf("\n%s", trace.String())
	}
	if fault != nil {
		t.Fatal(fault)
	}
}

// TestSeeds is what every run of CI plays.
func TestSeeds(t *testing.T) {
	n := *count
	if testing.Short() || raced {
		n = 50
	}
	acked, happened := 0, map[string]int{}
	var followed Followed
	for s := range n {
		rep, fault := Run(s, nil)
		if fault != nil {
			t.Error(fault)
		}
		acked += rep.Acked
		followed.Add(rep.Followed)
		for f, k := range rep.Faults {
			happened[f] += k
		}
		if rep.Converged > time.Minute {
			t.Errorf("seed %d converged after %s", s, rep.Converged)
		}
	}
	if acked < int(n)*50 || n >= 50 && len(happened) < 23 {
		t.Fatalf("%d acknowledged writes and %d kinds of faults in %d histories: the simulation tests too little (%v)", acked, len(happened), n, happened)
	}
	least := Followed{Edits: 50, Machines: 15, Deletes: 15, Statuses: 1, Claims: 10} // in each history, on average
	if !followed.atLeast(least, int(n)) {
		t.Fatalf("%+v followed to the end in %d histories: the simulation tests too little", followed, n)
	}
}

func (f Followed) atLeast(least Followed, times int) bool {
	return f.Edits >= times*least.Edits && f.Machines >= times*least.Machines && f.Deletes >= times*least.Deletes &&
		f.Statuses >= times*least.Statuses && f.Claims >= times*least.Claims
}

// TestSameSeedSameTrace: nothing of a history comes from elsewhere than its seed.
func TestSameSeedSameTrace(t *testing.T) {
	for _, s := range []uint64{3, 14, 101, 431} {
		var a, b bytes.Buffer
		Run(s, &a)
		Run(s, &b)
		if a.Len() < 10_000 || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("seed %d: two traces of %d and %d bytes differ", s, a.Len(), b.Len())
		}
	}
}

// regressions are histories that once broke a promise, and what was wrong. Where a later change of the simulator or of the
// wire made another history of the same seed, the mutant that plants the bug again stands guard (cmd/mutants).
var regressions = map[uint64]string{
	0:     "a node with a slow clock told a horizon although it held records back: living objects were taken for zombies",
	10:    "an author published its record although what followed it was there already",
	13:    "a generation stayed where another version began to execute",
	14:    "a creation that was already followed by another life was answered with that one",
	50:    "a new node gave a new object the UID of one that was long dead",
	53:    "so did one that had met only others without memory",
	90:    "the generation fell where a machine's write left a sibling unknown to others",
	91:    "what was redated was published although it no longer counted",
	146:   "a node that lost its disk used a dot for the second time",
	292:   "a node a year ahead purged tombstones that were young by everybody else's clock",
	293:   "a life was set aside before its horizon was taken over, and came back under its UID",
	301:   "a node that lost its disk twice used its dots again",
	336:   "a machine's write that was refused in doubt came back over acknowledged ones",
	341:   "a node out of an old backup wrote records that others refused as poison",
	373:   "one UID in two keys let replicas differ for ever",
	379:   "what a doubtful write had removed was put back by the next one",
	429:   "a write covered the author's own earlier one, whose fate at the home it did not know",
	431:   "a zombie's tombstone was no zombie where both sides told the same horizons",
	464:   "a node out of its backup for the second time used the dots of its first return",
	1043:  "records dated next year kept a node from forgetting what everybody had forgotten",
	6603:  "an edit under another's record from next year was let go of, and the node's next edit counted as an answer to it",
	10601: "(the oracle) a delete that a crash left unanswered had ended the object, and the record was taken for a refused one's",
	10953: "(the oracle) a home answered while the clock was an hour behind, and its answer was told when the clock was right again",
	17112: "an object ended when its edit from next year was let go, and kept its status where that happened",
	18047: "an edit dated an hour ahead was written anew twice, the second time out of a backup, and was back after its delete",
	23761: "so was one dated next year",
	25244: "(the oracle) so had one whose home answered too late",
	31125: "(the oracle) a creation in doubt is forgotten in a crash, and the next one covers it (DESIGN.md)",
	32154: "a node that had been a year ahead let go of another's record, an hour ahead, whose author then lost its disk",
	34030: "so it forgot its own edits that were under such a record, and gave their object's UID to a new one",
	44082: "an edit written anew was another one to those who had answered for the first",
	44709: "a write whose home stayed silent was answered as done, and lay in lost-and-found: its object's tombstone had been purged meanwhile",
	46257: "a node that lost its disk three times counted on below its second life, of which it had not heard",
	48749: "(the oracle) so is a machine's write",
	52055: "an edit dated next year, of an old life, kept nobody who knew only that edit from telling a horizon: all others set the life aside",
	58993: "events dated next year kept a node from telling and from taking over horizons",
	67911: "so did another",
	76918: "an object made twice, once by a slow clock: a node that held the older birth back told a horizon behind it, and all others set the object aside",
	78775: "events dated next year kept one from horizons, as in 58993",
	79174: "a home that found a creation too early had merged the tombstones on which it relied, and did not show it before its next step: a write was refused because of an end that its node did not show",
	79469: "(the oracle) a home was the first to have a delete on a disk, and went down before it answered; its author was replaced",
	80138: "a status came before the edit that revived its object, so that every node had to meet two others to have both",
	92603: "an old life known by an edit dated next year alone, as in 52055",
}

func TestRegressions(t *testing.T) {
	for s, was := range regressions {
		if _, fault := Run(s, nil); fault != nil {
			t.Errorf("%s: %v", was, fault)
		}
	}
}
