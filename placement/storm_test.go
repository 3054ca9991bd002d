package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A host of last resort gets a pod at once when no other host can take it, for whatever reason, and never otherwise.
func TestLastResort(t *testing.T) {
	steady, flapping := func(h *Host) {}, func(h *Host) { h.LastResort = true }
	for name, c := range map[string]struct {
		pod  func(*Pod)
		host func(*Host)
		want string // host of the pod
	}{
		"another can":   {nil, steady, "h1"},
		"all flap":      {nil, flapping, "h0 or h1"},
		"volume":        {func(p *Pod) { p.Hosts = []string{"h0"} }, steady, "h0"},
		"daemon set":    {func(p *Pod) { p.Required = []Term{{Fields: []Requirement{{"metadata.name", In, []string{"h0"}}}}} }, steady, "h0"},
		"selector":      {func(p *Pod) { p.Selector = []Label{{"kubernetes.io/hostname", "h0"}} }, steady, "h0"},
		"apart":         {func(p *Pod) { p.AntiAffinity = []PodTerm{{Topology: "kubernetes.io/hostname", Match: app("old")}} }, steady, "h0"},
		"the rest full": {func(p *Pod) { p.Requests.CPU = 7000 }, steady, "h0"},
		"cordoned":      {nil, func(h *Host) { h.Cordoned = true }, "h0"},
	} {
		t.Run(name, func(t *testing.T) {
			v := View{Hosts: hostsOf(2, 8000, 64), Pods: append(podsOf(1, "old", func(p *Pod) { p.Requests.CPU = 2000 }), podsOf(1, "new", c.pod)...)}
			v.Hosts[0].LastResort, v.Pods[0].Host = true, v.Hosts[1].ID
			c.host(&v.Hosts[1])
			p := Place(v, Options{Preempt: true, Moves: 8, Rebalance: Eager})
			if len(p.Binds) != 1 || len(p.Moves)+len(p.Preemptions) > 0 || !strings.Contains(c.want, p.Binds[0].Host) {
				t.Errorf("want %s: %+v", c.want, p)
			}
		})
	}
}

// A host that fails once is used again at once; one that flaps every 20 s is a last resort after the third time, and like any other when
// it has been calm for a while.
func TestFlappingHostIsDamped(t *testing.T) {
	d := DefaultDamping()
	var f Flaps
	now := dawn
	for i, want := range []bool{false, false, true, true, true} {
		f = d.Lost(f, now)
		if f.Suppressed != want {
			t.Fatalf("loss %d: suppressed %v, penalty %d", i+1, f.Suppressed, f.Penalty)
		}
		now = now.Add(20 * time.Second)
	}
	until := d.Until(f, now)
	if !d.Aged(f, until.Add(-10*time.Second)).Suppressed || d.Aged(f, until.Add(10*time.Second)).Suppressed {
		t.Errorf("wrong end of suppression: %s", until.Sub(now))
	}
	if calm := until.Sub(now); calm < 2*time.Minute || calm > 8*time.Minute {
		t.Errorf("suppressed for %s after it calmed down", calm)
	}
}

// However a host flaps, the times at which it is lost while it is no last resort are few: after the first two, at most one
// in each time that suppression lasts. And a host that stays up is always used again within four half-lives.
func TestFlappingMovesAreBounded(t *testing.T) {
	d := DefaultDamping()
	rapid.Check(t, func(t *rapid.T) {
		var f Flaps
		now, costly := dawn, 0
		for range rapid.IntRange(1, 300).Draw(t, "flaps") {
			if f = d.Aged(f, now); !f.Suppressed {
				costly++
			}
			f = d.Lost(f, now)
			now = now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
		}
		if most := 3 + int(now.Sub(dawn)/(45*time.Second)); costly > most {
			t.Fatalf("%d losses moved pods in %s, at most %d may", costly, now.Sub(dawn), most)
		}
		if d.Aged(f, now.Add(4*d.HalfLife)).Suppressed {
			t.Fatal("suppressed for ever")
		}
	})
}

// The whole chain: one of ten hosts comes and goes while workloads are rolled out, and damping makes it a last resort. What it costs is
// bounded by the time and not by the flaps, nobody waits for it, and no pod but those that it had is bound again.
func TestFlappingHostCostsFewBinds(t *testing.T) {
	d, flapped := DefaultDamping(), 0
	rapid.Check(t, func(t *rapid.T) {
		hosts, pods, s := hostsOf(10, 8000, 64), podsOf(60, "web", nil), NewState(Options{Preempt: true})
		s.Apply(Delta{Hosts: hosts, Pods: pods})
		var f Flaps
		now, costly, bound, crowd := dawn, 0, 0, 0
		seconds := func(what string) { now = now.Add(time.Duration(rapid.IntRange(1, 45).Draw(t, what)) * time.Second) }
		for i := range rapid.IntRange(1, 100).Draw(t, "flaps") {
			up, down := hosts[0], hosts[0]
			f = d.Aged(f, now)
			up.LastResort, down.NotReady = f.Suppressed, "out of sight"
			fresh := podsOf(20, fmt.Sprint("rolled-out-", i), nil)
			rolled := Delta{Hosts: []Host{up}, Pods: fresh}
			for _, p := range pods[:20] {
				rolled.GonePods = append(rolled.GonePods, p.UID)
			}
			pods = append(pods[20:], fresh...)
			if p := s.Apply(rolled); len(p.Binds) != 20 || len(p.Pending) > 0 {
				t.Fatalf("%d of 20 pods bound, %d pending", len(p.Binds), len(p.Pending))
			}
			seconds("up")
			lost := Delta{Hosts: []Host{down}}
			for _, uid := range s.on(up.ID) {
				at := slices.IndexFunc(pods, func(p Pod) bool { return p.UID == uid })
				lost.Pods = append(lost.Pods, pods[at])
			}
			f = d.Lost(f, now)
			p := s.Apply(lost)
			if len(p.Binds) != len(lost.Pods) || len(p.Pending) > 0 {
				t.Fatalf("%d pods lost, %d bound again, %d pending", len(lost.Pods), len(p.Binds), len(p.Pending))
			}
			if bound, crowd = bound+len(p.Binds), max(crowd, len(p.Binds)); len(p.Binds) > 0 {
				costly++
			}
			seconds("down")
		}
		flapped += costly
		if most := 3 + int(now.Sub(dawn)/(45*time.Second)); costly > most || bound > most*crowd {
			t.Fatalf("%d losses in %s made %d pods move, at most %d may", costly, now.Sub(dawn), bound, most)
		}
	})
	if flapped == 0 {
		t.Error("no loss ever cost anything: there was nothing to bound")
	}
}

func TestAgeingHalves(t *testing.T) {
	d := DefaultDamping()
	f := Flaps{Penalty: 8000, At: dawn}
	for i := range 5 {
		got := d.Aged(f, dawn.Add(time.Duration(i)*d.HalfLife/2)).Penalty
		want := []int64{8000, 5657, 4000, 2828, 2000}[i]
		if got < want-80 || got > want+80 {
			t.Errorf("after %d half half-lives %d, want %d", i, got, want)
		}
	}
	if d.Aged(f, dawn.Add(-time.Hour)).Penalty != 8000 {
		t.Error("time that runs backwards aged the penalty")
	}
}

func TestStormBrake(t *testing.T) {
	b := DefaultBrake()
	var storm []Loss
	for i := range 8 {
		storm = append(storm, Loss{fmt.Sprint("a", i), "zone-a", dawn.Add(time.Duration(i) * 100 * time.Millisecond)})
	}
	calm := Loss{"b0", "zone-b", dawn}
	sizes := map[string]int{"zone-a": 10, "zone-b": 10}
	for _, c := range []struct {
		after time.Duration
		due   int
	}{{time.Second, 3}, {6 * time.Second, 4}, {21 * time.Second, 7}, {time.Minute, 9}} {
		due, next := b.Due(append(slices.Clone(storm), calm), sizes, dawn.Add(c.after))
		if len(due) != c.due || !slices.Contains(due, "b0") {
			t.Errorf("after %s: %v", c.after, due)
		}
		if (c.due < 9) == next.IsZero() {
			t.Errorf("after %s: next at %s", c.after, next)
		}
	}
	if due, _ := b.Due(storm[:2], sizes, dawn.Add(time.Second)); len(due) != 2 {
		t.Errorf("two lost hosts are no storm: %v", due)
	}
	if due, _ := b.Due(storm, map[string]int{"zone-a": 100}, dawn.Add(time.Second)); len(due) != 8 {
		t.Errorf("eight of a hundred are no storm: %v", due)
	}
}
