package bed

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// raise brings up a lab of the test's own, and sees to it that nothing of it is left.
func raise(t *testing.T, hosts, regions int) *Bed {
	t.Helper()
	b := describe(t, hosts, regions)
	t.Cleanup(func() {
		if err := b.Down(context.Background()); err != nil {
			t.Errorf("down: %v", err)
		}
		for _, trace := range leftovers(t, b) {
			t.Errorf("left behind: %s", trace)
		}
	})
	if err := b.Up(t.Context()); err != nil {
		t.Fatalf("up: %v", err)
	}
	return b
}

// describe is a lab that is not up. Names differ from those of any other test process on this machine.
func describe(t *testing.T, hosts, regions int) *Bed {
	t.Helper()
	if err := preflight(); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("/tmp", "bed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := New(Config{Dir: dir, Prefix: prefixOf(os.Getpid()), Hosts: hosts, Regions: regions, Net: 220})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func prefixOf(pid int) string {
	p := []byte("t")
	for ; pid > 0 && len(p) < 6; pid /= 26 {
		p = append(p, byte('a'+pid%26))
	}
	return string(p)
}

// leftovers lists every trace of a lab in the kernel and on disk.
func leftovers(t *testing.T, b *Bed) []string {
	t.Helper()
	found, err := b.traces()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.dir); err == nil {
		_ = filepath.WalkDir(b.dir, func(path string, _ fs.DirEntry, err error) error {
			found = append(found, path)
			return err
		})
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, b.dir) {
			found = append(found, "mount "+line)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		line, _ := os.ReadFile(p) // it may have ended
		if bytes.Contains(line, []byte(b.dir)) {
			found = append(found, "process "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func TestUpTwiceThenDownTwice(t *testing.T) {
	b := raise(t, 3, 1)
	before := enginePIDs(t, b)
	if err := b.Up(t.Context()); err != nil {
		t.Fatalf("up again: %v", err)
	}
	if after := enginePIDs(t, b); !slices.Equal(before, after) {
		t.Errorf("engines restarted by a second up: %v, then %v", before, after)
	}
	s, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range s.Hosts {
		if h.State != On || h.Engine == "" {
			t.Errorf("%s is %s with engine %q, want it on", h.Name, h.State, h.Engine)
		}
	}
	for range 2 {
		if err := b.Down(t.Context()); err != nil {
			t.Fatalf("down: %v", err)
		}
		if l := leftovers(t, b); len(l) > 0 {
			t.Errorf("left behind: %q", l)
		}
	}
}

func enginePIDs(t *testing.T, b *Bed) (pids []int) {
	t.Helper()
	hosts, err := b.Hosts()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		pid, ok := b.PID(h.Name, engineName)
		if !ok {
			t.Fatalf("no engine runs on %s", h.Name)
		}
		pids = append(pids, pid)
	}
	return pids
}

// A process that builds a lab is killed at some moment; another one, that knows only the directory, clears it away.
func TestDownAfterCrashOfUp(t *testing.T) {
	for _, after := range []time.Duration{15, 40, 80, 140, 250} {
		after *= time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			b := describe(t, 3, 2)
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			up := exec.CommandContext(ctx, os.Args[0], "up", b.dir, b.prefix) // killed by SIGKILL when ctx ends
			out, err := up.CombinedOutput()
			if err == nil {
				t.Logf("it was done before: %s", out)
			}
			again, err := New(Config{Dir: b.dir, Prefix: b.prefix})
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Down(t.Context()); err != nil {
				t.Fatalf("down: %v", err)
			}
			if l := leftovers(t, b); len(l) > 0 {
				t.Errorf("left behind: %q", l)
			}
		})
	}
}

func TestAddHost(t *testing.T) {
	b := raise(t, 1, 1)
	h, err := b.AddHost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h.Number != 2 {
		t.Errorf("the new host is %s, want the second", h.Name)
	}
	serve(t, b, h)
	reach(t, b, "1", h, true)
}

func TestRefusals(t *testing.T) {
	b := describe(t, 1, 1)
	for name, err := range map[string]error{
		"no lab":         b.Cut("1", "2"),
		"delay in one":   b.Delay(t.Context(), time.Second, 0),
		"unknown region": b.Split(2),
		"unknown daemon": b.Kill("1", "nobody", 9),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, cfg := range map[string]Config{
		"prefix":  {Prefix: "m1"},
		"net":     {Net: 32},
		"regions": {Regions: 9},
		"hosts":   {Hosts: 201},
		"dir":     {Dir: "/tmp/" + strings.Repeat("x", 70)},
	} {
		if cfg.Dir == "" {
			cfg.Dir = "/tmp/bed-refused"
		}
		if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), name+":") {
			t.Errorf("%s: error %v, want one that names the field", name, err)
		}
	}
}

// The test executable is also what runs on the hosts: see the first argument.
func TestMain(m *testing.M) {
	if Main() {
		return
	}
	if len(os.Args) > 2 {
		if f, ok := map[string]func([]string) error{"up": upForTest, "echo": echo, "dial": dial, "count": count}[os.Args[1]]; ok {
			if err := f(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

func upForTest(args []string) error {
	b, err := New(Config{Dir: args[0], Prefix: args[1], Hosts: 3, Regions: 2, Net: 220})
	if err != nil {
		return err
	}
	return b.Up(context.Background())
}

// serve starts an echo server for TCP and UDP on a host.
func serve(t *testing.T, b *Bed, h Host) {
	t.Helper()
	if err := b.Start(h.Name, "echo", []string{os.Args[0], "echo", echoPort}, ""); err != nil {
		t.Fatal(err)
	}
	err := poll(t.Context(), 5*time.Second, "echo on "+h.Name, func() (bool, error) { return talk(b, h.Name, h) == nil, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// talk makes one TCP exchange from a place to a host.
func talk(b *Bed, from string, to Host) error {
	_, err := b.Exec(context.Background(), from, os.Args[0], "dial", to.Addr.String()+":"+echoPort)
	return err
}

func reach(t *testing.T, b *Bed, from string, to Host, want bool) {
	t.Helper()
	if err := talk(b, from, to); (err == nil) != want {
		t.Errorf("%s reaches %s: %v, want %v (%v)", from, to.Name, err == nil, want, err)
	}
}

// answered sends n UDP packets one after the other and returns how many came back, and the time that they took.
func answered(t *testing.T, b *Bed, from string, to Host, n int) (came int, each time.Duration) {
	t.Helper()
	out, err := b.Exec(t.Context(), from, os.Args[0], "count", to.Addr.String()+":"+echoPort, strconv.Itoa(n))
	if err != nil {
		t.Fatal(err)
	}
	var nanos int64
	if _, err := fmt.Sscan(string(out), &came, &nanos); err != nil {
		t.Fatal(err)
	}
	return came, time.Duration(nanos)
}
