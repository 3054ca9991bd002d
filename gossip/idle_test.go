package gossip

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestIdleCost measures; it is skipped unless asked for, because it takes half a minute of wall time to say one number.
func TestIdleCost(t *testing.T) {
	if os.Getenv("MESH_MEASURE") == "" {
		t.Skip("set MESH_MEASURE=1 to measure the idle CPU time of a member")
	}
	const n, span = 5, 30 * time.Second
	cluster(t, n)
	time.Sleep(3 * time.Second)
	before := cpu()
	time.Sleep(span)
	each := (cpu() - before) / n
	t.Logf("%d members: %.2f %% of a core each while idle", n, 100*each.Seconds()/span.Seconds())
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
