package bed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const engineName = "dockerd"

// Socket is the path of the host's engine; "unix://" + Socket is its DOCKER_HOST.
func (b *Bed) Socket(host string) string {
	h, err := b.find(host)
	if err != nil {
		return ""
	}
	return b.path(h.Name, "docker.sock")
}

// startEngine starts the host's engine where none runs and waits until it answers (at most 90 s).
func (b *Bed) startEngine(ctx context.Context, h Host) error {
	if _, ok := b.running(h.Name, engineName); !ok {
		if err := b.forgetEngine(h); err != nil {
			return err
		}
		if err := b.detach(h.Name, engineName, b.engineArgs(h), b.path(h.Name, "log", engineName+".log")); err != nil {
			return err
		}
	}
	return b.awaitEngine(ctx, h)
}

// engineArgs: the engine has no bridge and no rules of its own, because the network belongs to Orpheus; containers live
// through its restart; whatever asks for no cgroup lands in the host's.
func (b *Bed) engineArgs(h Host) []string {
	return []string{
		"dockerd",
		"--data-root", b.path(h.Name, "data"), "--exec-root", b.path(h.Name, "exec"),
		"--pidfile", b.path(h.Name, "docker.pid"), "-H", "unix://" + b.path(h.Name, "docker.sock"),
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/" + b.group(h.Name) + "/pods",
		"--live-restore", "--log-level", "warn", "--insecure-registry", "10.0.0.0/8",
	}
}

// forgetEngine removes what makes a start wait or fail: the pidfile of a dead engine, and that of a dead containerd. A
// containerd that PID 1 has not yet reaped looks alive to dockerd, which then waits 50 s for it and gives up.
func (b *Bed) forgetEngine(h Host) error {
	stale := []string{b.path(h.Name, "docker.pid"), b.path(h.Name, "docker.sock")}
	file := b.path(h.Name, "exec", "containerd", "containerd.pid")
	if content, err := os.ReadFile(file); err == nil {
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		if err != nil || !alive(pid) {
			stale = append(stale, file)
		}
	}
	var errs []error
	for _, f := range stale {
		errs = append(errs, ignoreAbsent(os.Remove(f)))
	}
	return errors.Join(errs...)
}

func (b *Bed) awaitEngine(ctx context.Context, h Host) error {
	err := poll(ctx, 90*time.Second, "engine of "+h.Name, func() (bool, error) {
		if b.ask(ctx, h, "/_ping", nil) == nil {
			return true, nil
		}
		if _, ok := b.running(h.Name, engineName); !ok {
			return false, errors.New("it ended")
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(b.path(h.Name, "log", engineName+".log"), 1500))
	}
	return nil
}

// ask gets a page of the engine's API within 2 s; into may be nil.
func (b *Bed) ask(ctx context.Context, h Host, page string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	socket := b.path(h.Name, "docker.sock")
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine"+page, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("engine of %s: %s answers %s", h.Name, page, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// wipe makes a host whose processes are dead look as after a power cut: what lived in memory is gone (sockets, pidfiles,
// the engine's exec state, mounts), what was written to disk is there. A write that was never fsynced is there
// too: the machine below has not lost power, its page cache survives.
func (b *Bed) wipe(h Host) error {
	sockets := b.shimSockets(h)
	if err := unmountBelow(b.path(h.Name), b.path(h.Name, "uts")); err != nil {
		return err
	}
	gone := append(sockets, b.path(h.Name, "exec"), b.path(h.Name, "docker.pid"), b.path(h.Name, "docker.sock"))
	for _, name := range b.daemons(h.Name) {
		gone = append(gone, b.pidfile(h.Name, name))
	}
	var errs []error
	for _, path := range gone {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// shimSockets are outside the host's directory: containerd keeps them in one place for the whole machine, and writes down in each
// container's bundle which is its own.
func (b *Bed) shimSockets(h Host) []string {
	var sockets []string
	_ = filepath.WalkDir(b.path(h.Name, "exec"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "rootfs" {
			return fs.SkipDir
		}
		if err == nil && d.Name() == "address" {
			content, _ := os.ReadFile(path)
			if s, ok := strings.CutPrefix(strings.TrimSpace(string(content)), "unix://"); ok && strings.HasPrefix(s, "/run/containerd/s/") {
				sockets = append(sockets, s)
			}
		}
		return nil // what cannot be read names no socket
	})
	return sockets
}

// unmountBelow detaches every mount below dir, the innermost first, but not keep.
func unmountBelow(dir, keep string) error {
	content, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(content)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		if point := unescape(f[1]); strings.HasPrefix(point, dir+"/") && point != keep {
			points = append(points, point)
		}
	}
	slices.Sort(points)
	slices.Reverse(points)
	for _, point := range points {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// unescape undoes the kernel's octal escapes in a mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// tail is the end of a file, for error messages.
func tail(file string, n int) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(content[max(0, len(content)-n):]))
}
