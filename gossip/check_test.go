package gossip

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
)

// TestChecksShareAStream: a stream that served a check serves the next one, one that broke meanwhile costs no check, and one that
// waits for its answer holds up nobody.
func TestChecksShareAStream(t *testing.T) {
	servers := cluster(t, 2)
	own, peer := servers[0].link(), servers[1].self.ID()
	n := &link{mesh: own.mesh, ctx: own.ctx, host: own.host, gate: own.gate, admission: own.admission, evidence: own.evidence,
		checks: keptStreams{by: make(map[ID]network.Stream)}} // beside the checks that the judge asks for
	ask := func() network.Stream {
		t.Helper()
		if err := n.ask(t.Context(), peer); err != nil {
			t.Fatal(err)
		}
		return n.checks.by[peer]
	}
	first := ask()
	if again := ask(); again != first || first == nil {
		t.Errorf("a check used %v, the next one %v", first, again)
	}
	_ = first.Reset()
	second := ask()
	if second == first {
		t.Error("a broken stream was kept")
	}
	if taken := n.checks.take(peer); taken != second {
		t.Errorf("kept %v, want %v", taken, second)
	}
	if third := ask(); third == second {
		t.Error("a check waited for another one's stream")
	}
}
