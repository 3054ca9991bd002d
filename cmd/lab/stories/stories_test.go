package stories

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/cmd/lab/bed"
	"github.com/orpheus-mesh/orpheus/cmd/lab/mesh"
)

func TestMain(m *testing.M) {
	if bed.Main() { // the lab's relay runs in this binary
		return
	}
	os.Exit(m.Run())
}

// orpheus is the binary under test: the one of `make build`.
func orpheus(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../../bin/orpheus")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs bin/orpheus: run `make build` (%v)", err)
	}
	return path
}

// TestStory acts the main story in short on a lab of its own. Its acts build on one another, so that the first that fails
// ends it. Times are reported, not judged: the machine is shared. What is judged is what was lost.
func TestStory(t *testing.T) {
	binary := needs(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	b := raise(ctx, t, 3)
	s := &Stage{M: &mesh.Mesh{Bed: b, Binary: binary}, Say: t.Logf}
	hosts := []string{"s1", "s2", "s3"}
	act := func(name string, do func(t *testing.T)) {
		if !t.Run(name, do) {
			t.FailNow()
		}
	}
	check := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	act("a mesh of three by tokens", func(t *testing.T) { check(t, s.Found(ctx, "s1", "s2", "s3")) })
	act("images reach all hosts, the application is ready", func(t *testing.T) {
		check(t, s.BuildImages(ctx, "s1"))
		check(t, s.Deploy(ctx, "s2"))
	})
	act("a fourth host joins, serves and gets work", func(t *testing.T) {
		_, err := b.AddHost(ctx)
		check(t, err)
		check(t, s.Join(ctx, "s3", "s4"))
		hosts = append(hosts, "s4")
		check(t, s.Everywhere(ctx, hosts...))
		check(t, s.GivesWork(ctx, "s4"))
	})
	act("a power cut is healed by the survivors", func(t *testing.T) {
		cut, err := s.CutPower(ctx, 50, 5*time.Second, hosts)
		t.Logf("%s: suspected after %s, withdrawn after %s, dead after %s, ready after %s, %d of %d requests failed", cut.Victim, cut.Suspected, cut.Withdrawn, cut.Dead, cut.Ready, cut.Load.Failed, cut.Load.Sent)
		check(t, err)
		check(t, s.Return(ctx, cut.Victim))
	})
	act("a crashed container is restarted", func(t *testing.T) { check(t, s.Crash(ctx, hosts[0])) })
	act("a rolling update and its undo lose no request", func(t *testing.T) {
		lost := 0 // of the rounds: one request in some ten thousand was seen lost on a machine with ten times more to do than it can
		for range 2 {
			failed := 0
			for _, undo := range []bool{false, true} {
				r, err := s.Rollout(ctx, 50, hosts, undo)
				check(t, err)
				if failed += r.Failed; r.Failed > 0 {
					t.Logf("undo %t: %d of %d requests failed: %v", undo, r.Failed, r.Sent, r.Reasons)
				}
			}
			if failed == 0 {
				return
			}
			lost += failed
		}
		t.Errorf("two rounds, and both lost requests: %d", lost)
	})
	act("a split of two regions heals by itself", func(t *testing.T) {
		sp, err := s.SplitRegions(ctx, 15*time.Second, 5, hosts)
		t.Logf("split %s: served on %d hosts, identical after %s, %d originals kept, %d surplus gone", sp.Lasted, sp.Served, sp.Identical, sp.Originals, sp.Surplus)
		check(t, err)
	})
	act("README's ways to play", func(t *testing.T) { play(ctx, t, b) })
}

// keepLogs shows what the mesh looked like from its first host that answers, and what the daemons told a person: little enough to be
// read whole.
func keepLogs(t *testing.T, b *bed.Bed) {
	hosts, err := b.Hosts()
	if err != nil {
		t.Log(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, h := range hosts {
		m := &mesh.Mesh{Bed: b, Binary: orpheus(t)}
		pods, err := m.Kubectl(ctx, h.Name, "get", "pods,deployments", "-A", "-o", "wide")
		if err != nil {
			continue
		}
		events, _ := m.Kubectl(ctx, h.Name, "get", "events", "-A", "--sort-by=.lastTimestamp")
		status, _ := m.Orpheus(ctx, h.Name, nil, "status")
		t.Logf("%s sees:\n%s\n%s\n%s", h.Name, pods, last(events, 12), status)
		break
	}
	for _, h := range hosts {
		path, err := b.Path(h.Name, "log", "orpheus.log")
		if err != nil {
			continue
		}
		out, err := os.ReadFile(path)
		if err != nil {
			t.Log(err)
			continue
		}
		told := slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool { return strings.Contains(line, " level=DEBUG") })
		t.Logf("%s, without details:\n%s", path, last(strings.Join(told, "\n"), 8))
	}
}

// last are the last lines of a text, none longer than a screen is wide.
func last(text string, most int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	lines = lines[max(0, len(lines)-most):]
	for i, l := range lines {
		lines[i] = l[:min(len(l), 220)]
	}
	return strings.Join(lines, "\n")
}
