package bed

import (
	"os"
	"strings"
	"testing"
	"time"
)

func trio(t *testing.T, regions int) (b *Bed, h [3]Host) {
	t.Helper()
	b = raise(t, 3, regions)
	for i := range h {
		h[i] = b.host(i + 1)
		serve(t, b, h[i])
	}
	return b, h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNetworkFaults(t *testing.T) {
	b, h := trio(t, 2) // 1 and 3 share a region
	names := [3]string{h[0].Name, h[1].Name, h[2].Name}
	all := func(t *testing.T, want bool) {
		t.Helper()
		for _, from := range names {
			for _, to := range h {
				if from != to.Name {
					reach(t, b, from, to, want)
				}
			}
		}
	}
	t.Run("all reach all, the client too", func(t *testing.T) {
		all(t, true)
		for _, to := range h {
			reach(t, b, "client", to, true)
		}
	})
	for _, pair := range [][2]int{{0, 2}, {0, 1}} { // within a region, and across
		x, y := h[pair[0]], h[pair[1]]
		t.Run("cut "+x.Name+" "+y.Name, func(t *testing.T) {
			must(t, b.Cut(x.Name, y.Name))
			must(t, b.Cut(x.Name, y.Name)) // twice is once
			reach(t, b, x.Name, y, false)
			reach(t, b, y.Name, x, false)
			reach(t, b, "client", x, true)
			must(t, b.Heal(x.Name, y.Name))
			all(t, true)
		})
		t.Run("cut1 "+x.Name+" "+y.Name, func(t *testing.T) {
			must(t, b.Cut1(x.Name, y.Name))
			if got := arrived(t, b, x, y); got {
				t.Errorf("a packet from %s arrived at %s", x.Name, y.Name)
			}
			if got := arrived(t, b, y, x); !got {
				t.Errorf("no packet from %s arrived at %s, only the other way is cut", y.Name, x.Name)
			}
			must(t, b.Heal(y.Name, x.Name))
			all(t, true)
		})
	}
	t.Run("isolate", func(t *testing.T) {
		must(t, b.Isolate(names[0]))
		for _, from := range []string{names[1], names[2], "client"} {
			reach(t, b, from, h[0], false)
		}
		reach(t, b, names[1], h[2], true)
		must(t, b.Join(names[0]))
		all(t, true)
	})
	t.Run("split", func(t *testing.T) {
		must(t, b.Split(2))
		reach(t, b, names[0], h[1], false)
		reach(t, b, names[1], h[2], false)
		reach(t, b, names[0], h[2], true)
		reach(t, b, "client", h[1], true)
		must(t, b.Merge())
		all(t, true)
	})
	t.Run("loss", func(t *testing.T) {
		must(t, b.Loss(names[2], 20)) // 0.8 each way: 0.64 come back
		came, _ := answered(t, b, names[0], h[2], 1000)
		if came < 560 || came > 720 {
			t.Errorf("%d of 1000 packets came back at 20 %% loss each way, want about 640", came)
		}
		must(t, b.Loss(names[2], 0))
		if came, _ := answered(t, b, names[0], h[2], 200); came != 200 {
			t.Errorf("%d of 200 packets came back without loss", came)
		}
	})
	t.Run("delay", func(t *testing.T) {
		must(t, b.Delay(t.Context(), 40*time.Millisecond, 5*time.Millisecond))
		if came, each := answered(t, b, names[0], h[1], 200); came != 200 || each < 75*time.Millisecond || each > 200*time.Millisecond {
			t.Errorf("%d of 200 packets came back after %s, want all after about 80 ms", came, each)
		}
		if _, each := answered(t, b, names[0], h[2], 50); each > 20*time.Millisecond {
			t.Errorf("%s within a region, only traffic between regions is delayed", each)
		}
		if f, err := b.Faults(); err != nil || len(f) != 1 || f[0] != "delay 40ms 5ms" {
			t.Errorf("faults: %q, %v", f, err)
		}
		must(t, b.Delay(t.Context(), 0, 0))
		if _, each := answered(t, b, names[0], h[1], 50); each > 20*time.Millisecond {
			t.Errorf("%s after the delay ended", each)
		}
	})
	if f, err := b.Faults(); err != nil || len(f) > 0 {
		t.Errorf("faults left: %q, %v", f, err)
	}
}

// arrived sends one packet to a counter in the receiver's own namespace.
func arrived(t *testing.T, b *Bed, from, to Host) bool {
	t.Helper()
	_, err := nft(to.Name, "table ip probe { chain in { type filter hook input priority 0; ip saddr "+from.Addr.String()+" udp dport 7 counter; }; }\n", "-f", "-")
	must(t, err)
	sh := "echo x > /dev/udp/" + to.Addr.String() + "/7"
	if _, err := b.Exec(t.Context(), from.Name, "bash", "-c", sh+"; "+sh); err != nil {
		t.Fatal(err)
	}
	var seen bool
	_ = poll(t.Context(), 300*time.Millisecond, "packet", func() (bool, error) {
		out, err := nft(to.Name, "", "list", "table", "ip", "probe")
		seen = !strings.Contains(string(out), "counter packets 0")
		return seen, err
	}) // not seen within that time is an answer
	_, err = nft(to.Name, "", "delete", "table", "ip", "probe")
	must(t, err)
	return seen
}

func TestPauseAndResume(t *testing.T) {
	b, h := trio(t, 1)
	must(t, b.Pause(t.Context(), h[0].Name))
	reach(t, b, h[1].Name, h[0], false)
	if s, err := b.Status(t.Context()); err != nil || s.Hosts[0].State != Frozen {
		t.Errorf("status %+v, %v, want the first host frozen", s.Hosts, err)
	}
	must(t, b.Resume(t.Context(), h[0].Name))
	reach(t, b, h[1].Name, h[0], true)
}

func TestPowerCut(t *testing.T) {
	b, h := trio(t, 1)
	name := h[0].Name
	must(t, os.WriteFile(b.path(name, "data", "written"), []byte("x"), 0o644))
	_, err := b.Exec(t.Context(), name, "nft", "add", "table", "ip", "own")
	must(t, err)
	must(t, b.Pause(t.Context(), name)) // the worst moment

	must(t, b.Poweroff(t.Context(), name))
	if pids, err := b.groups.processes(b.group(name)); err != nil || len(pids) > 0 {
		t.Errorf("processes %v live without power, %v", pids, err)
	}
	reach(t, b, h[1].Name, h[0], false)
	if err := idle(t, b, name); err == nil {
		t.Error("a command ran on a host that is off")
	}
	must(t, b.Poweroff(t.Context(), name)) // twice is once

	must(t, b.Boot(t.Context(), name))
	if _, err := os.Stat(b.path(name, "data", "written")); err != nil {
		t.Errorf("the disk did not survive: %v", err)
	}
	if out, err := b.Exec(t.Context(), name, "nft", "list", "tables"); err != nil || len(out) > 0 {
		t.Errorf("the kernel's rules survived: %s, %v", out, err)
	}
	if _, ok := b.PID(name, "echo"); ok {
		t.Error("a daemon survived")
	}
	serve(t, b, h[0])
	reach(t, b, h[1].Name, h[0], true)
	reach(t, b, "client", h[0], true)
}

// idle runs the smallest command there is.
func idle(t *testing.T, b *Bed, host string) error {
	_, err := b.Exec(t.Context(), host, "true")
	return err
}

func TestKillEngine(t *testing.T) {
	b := raise(t, 1, 1)
	name := b.host(1).Name
	before := enginePIDs(t, b)[0]
	must(t, b.KillEngine(t.Context(), name))
	must(t, poll(t.Context(), 5*time.Second, "end of the engine", func() (bool, error) { return !alive(before), nil }))
	if s, err := b.Status(t.Context()); err != nil || s.Hosts[0].State != EngineDown {
		t.Errorf("status %+v, %v", s.Hosts, err)
	}
	must(t, b.Boot(t.Context(), name))
	if after := enginePIDs(t, b)[0]; after == before {
		t.Error("the engine is the same")
	}
}

func TestDaemons(t *testing.T) {
	b := raise(t, 1, 1)
	must(t, b.Start("1", "sleeper", []string{"sleep", "1000"}, ""))
	if err := b.Start("1", "sleeper", []string{"sleep", "1000"}, ""); err == nil {
		t.Error("two daemons of one name")
	}
	use, err := b.Mem()
	if err != nil || use[0].Daemons["sleeper"].Resident == 0 || use[0].Total.CPU == 0 {
		t.Errorf("mem %+v, %v", use, err)
	}
	must(t, b.Stop(t.Context(), "1", "sleeper"))
	must(t, b.Stop(t.Context(), "1", "sleeper")) // twice is once
	if _, ok := b.PID("1", "sleeper"); ok {
		t.Error("it runs after Stop")
	}
	if out, err := b.Exec(t.Context(), "1", "hostname"); err != nil || strings.TrimSpace(string(out)) != b.host(1).Name {
		t.Errorf("hostname %s, %v", out, err)
	}
	if err := b.Start("1", "broken", []string{"/no/such/program"}, ""); err == nil {
		t.Error("a program that does not exist was started")
	}
}
