package bed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// enter is the way into a place: first its cgroups (a child of ours must not outlive a power cut there), then its
// namespaces. It is nsenter and never `ip netns exec`, which mounts a /sys of its own and hides the cgroups.
const enter = `pidfile=$1; group=$2; shift 2
for f in $group; do echo $$ >"$f" || exit 125; done
[ -z "$pidfile" ] || echo $$ >"$pidfile" || exit 125
exec nsenter "$@"`

func (b *Bed) enterArgs(place, pidfile string, argv []string) []string {
	args := []string{"-c", enter, "sh", pidfile, strings.Join(b.groups.entrances(b.group(place)), " "), "--net=" + netnsPath(place)}
	if uts := b.path(place, "uts"); isNamespace(uts) {
		args = append(args, "--uts="+uts)
	}
	return append(append(args, "--"), argv...)
}

// Command is a command that runs on a host (or "client", "router") when it is started: in its network, its name and its
// cgroup, so it dies with the host. An unknown place is reported by the command's Start.
func (b *Bed) Command(host string, argv ...string) *exec.Cmd {
	return b.CommandContext(context.Background(), host, argv...)
}

// CommandContext is Command with a context that kills it.
func (b *Bed) CommandContext(ctx context.Context, host string, argv ...string) *exec.Cmd {
	place, err := b.place(host)
	cmd := exec.CommandContext(ctx, "sh", b.enterArgs(place, "", argv)...)
	if err == nil && len(argv) == 0 {
		err = errors.New("no command given")
	}
	if err != nil {
		cmd.Err = err
	}
	return cmd
}

// Exec runs a command on a host and returns its standard output; the error carries its standard error.
func (b *Bed) Exec(ctx context.Context, host string, argv ...string) ([]byte, error) {
	out, err := b.CommandContext(ctx, host, argv...).Output()
	if err != nil {
		return out, fmt.Errorf("%s on %s: %w", strings.Join(argv, " "), host, withStderr(err))
	}
	return out, nil
}

// ClientNamespace is the name of the outsider's network namespace, below /run/netns.
func (b *Bed) ClientNamespace() string { return b.client() }

// Dial connects from a host (or "client") to a numeric address: a socket belongs to the network it was made in, so that the
// connection can be used from here.
func (b *Bed) Dial(ctx context.Context, from, network, addr string) (conn net.Conn, err error) {
	place, err := b.place(from)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial from %s: %w", place, err) // a name would be looked up on other threads, in other networks
	}
	err = within(place, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

var daemonForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)

// Start runs a daemon on a host (or "client", "router"), detached from the caller, known by name from then on. Its output is
// appended to logfile; an empty logfile means log/NAME.log of the host's directory. A daemon of that name that
// already runs is an error.
func (b *Bed) Start(host, name string, argv []string, logfile string) error {
	place, err := b.place(host)
	if err != nil {
		return err
	}
	if !daemonForm.MatchString(name) {
		return fmt.Errorf("daemon name %q, want lower-case letters, digits and dashes", name)
	}
	if len(argv) == 0 {
		return fmt.Errorf("start %s on %s: no command given", name, place)
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return fmt.Errorf("start %s on %s: %w", name, place, err)
	}
	if pid, ok := b.running(place, name); ok {
		return fmt.Errorf("start %s on %s: already running as process %d", name, place, pid)
	}
	return b.detach(place, name, argv, first(logfile, b.path(place, "log", name+".log")))
}

// detach starts a session of its own whose parent is init: the caller may end, and has nothing to reap.
func (b *Bed) detach(place, name string, argv []string, logfile string) error {
	pidfile := b.pidfile(place, name)
	if err := errors.Join(makeDirs(filepath.Dir(pidfile)), ignoreAbsent(os.Remove(pidfile))); err != nil {
		return err
	}
	log, err := os.OpenFile(logfile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("log of %s on %s: %w", name, place, err)
	}
	defer log.Close()
	cmd := exec.Command("setsid", append([]string{"--fork", "sh"}, b.enterArgs(place, pidfile, argv)...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("start %s on %s: %w", name, place, err)
	}
	err = poll(context.Background(), 10*time.Second, "process number of "+name, func() (bool, error) {
		b, err := os.ReadFile(pidfile)
		return len(b) > 0, ignoreAbsent(err)
	})
	if err != nil {
		return fmt.Errorf("start %s on %s (is the host powered off? see %s): %w", name, place, logfile, err)
	}
	return nil
}

func (b *Bed) pidfile(place, name string) string { return b.path(place, "run", name+".pid") }

// PID is the process number of a daemon that was started by name and lives.
func (b *Bed) PID(host, name string) (int, bool) {
	place, err := b.place(host)
	if err != nil {
		return 0, false
	}
	return b.running(place, name)
}

// running believes the pidfile only when that process lives in the place's cgroup: numbers are reused.
func (b *Bed) running(place, name string) (int, bool) {
	content, err := os.ReadFile(b.pidfile(place, name))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || !alive(pid) {
		return 0, false
	}
	of, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(of), ":/"+b.group(place)+"/") {
		return 0, false
	}
	return pid, true
}

// alive does not count a zombie: PID 1 may reap late, and a zombie still answers signals.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest != "" && rest[0] != 'Z' && rest[0] != 'X'
}

// Kill sends a signal to a daemon and does not wait.
func (b *Bed) Kill(host, name string, signal syscall.Signal) error {
	place, err := b.place(host)
	if err != nil {
		return err
	}
	pid, ok := b.running(place, name)
	if !ok {
		return fmt.Errorf("signal %s on %s: it does not run", name, place)
	}
	if err := unix.Kill(pid, signal); err != nil {
		return fmt.Errorf("signal %s on %s: %w", name, place, err)
	}
	return nil
}

// Stop asks a daemon to end and waits for it; when ctx ends first, or after 30 s, it is killed and that is an error.
// One that does not run is fine.
func (b *Bed) Stop(ctx context.Context, host, name string) error {
	place, err := b.place(host)
	if err != nil {
		return err
	}
	pid, ok := b.running(place, name)
	if !ok {
		return ignoreAbsent(os.Remove(b.pidfile(place, name)))
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop %s on %s: %w", name, place, err)
	}
	err = poll(ctx, 30*time.Second, "end of "+name, func() (bool, error) { return !alive(pid), nil })
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended in between
		return fmt.Errorf("stop %s on %s: killed, because it did not end: %w", name, place, err)
	}
	return ignoreAbsent(os.Remove(b.pidfile(place, name)))
}

// daemons are the names under which something was started on a place, running or not.
func (b *Bed) daemons(place string) []string {
	files, err := filepath.Glob(b.path(place, "run", "*.pid"))
	if err != nil {
		return nil // the pattern is constant: it cannot be malformed
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".pid"))
	}
	return names
}

func run(argv ...string) error {
	_, err := exec.Command(argv[0], argv[1:]...).Output()
	return withStderr(err)
}

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

func makeDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// poll asks every 20 ms until done, an error, the limit, or the end of ctx.
func poll(ctx context.Context, limit time.Duration, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s: not within %s", what, limit))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
