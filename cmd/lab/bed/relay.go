package bed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// RelayCommand is the first argument of the process that delays traffic between regions; see [Main].
const RelayCommand = "relay"

const (
	relayName  = "relay"
	relayDev   = "wan0"
	relayTable = 100   // routing table that leads into the relay
	relayQueue = 16384 // packets under way at once; beyond it packets are lost, as at any router
	maxDelay   = 10 * time.Second
)

// Delay makes every packet between regions take that much longer, one way, give or take jitter. Packets keep their order. A
// delay of 0 ends it. The kernel's own delay (netem) is not everywhere; a process in the router's namespace
// does it.
func (b *Bed) Delay(ctx context.Context, oneway, jitter time.Duration) error {
	switch {
	case b.regions < 2:
		return errors.New("delay: the lab has one region, delays are between regions")
	case oneway < 0 || jitter < 0 || oneway+jitter > maxDelay:
		return fmt.Errorf("delay: %s ± %s, want 0 to %s", oneway, jitter, maxDelay)
	}
	if err := b.Stop(ctx, "router", relayName); err != nil {
		return err
	}
	if oneway == 0 && jitter == 0 {
		return nil
	}
	argv := append(b.cfg.Relay[:len(b.cfg.Relay):len(b.cfg.Relay)], "-delay", oneway.String(), "-jitter", jitter.String())
	for r := 1; r <= b.regions; r++ {
		argv = append(argv, fmt.Sprintf("r%d", r))
	}
	if err := b.Start("router", relayName, argv, ""); err != nil {
		return err
	}
	err := poll(ctx, 10*time.Second, "relay", func() (bool, error) {
		if _, ok := b.running(b.router(), relayName); !ok {
			return false, fmt.Errorf("it ended: %s", tail(b.path(b.router(), "log", relayName+".log"), 500))
		}
		return b.relayReady()
	})
	if err != nil {
		return fmt.Errorf("delay: %w", err)
	}
	return nil
}

// relayReady: the rules that lead traffic into the relay are the last thing that it makes.
func (b *Bed) relayReady() (ready bool, err error) {
	err = inside(b.router(), func(h *netlink.Handle) error {
		if _, err := h.LinkByName(relayDev); err != nil {
			return nil
		}
		rules, err := h.RuleList(netlink.FAMILY_V4)
		n := 0
		for _, r := range rules {
			if r.Table == relayTable {
				n++
			}
		}
		ready = n == b.regions
		return err
	})
	return ready, err
}

// relaying tells the delay in force.
func (b *Bed) relaying() (string, bool) {
	pid, ok := b.running(b.router(), relayName)
	if !ok {
		return "", false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", false
	}
	_, args, _ := strings.Cut(strings.TrimRight(string(line), "\x00"), "-delay\x00")
	f := strings.Split(args, "\x00")
	if len(f) < 3 {
		return "", false
	}
	return fmt.Sprintf("delay %s %s", f[0], f[2]), true
}

// Main runs the relay when the process was started as one, and says whether it was. A program that uses Delay without being
// the lab command calls it first thing in main (or TestMain) and ends when it is true.
func Main() bool {
	if len(os.Args) < 2 || os.Args[1] != RelayCommand {
		return false
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := Relay(ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	return true
}

// Relay delays what arrives on the named interfaces until ctx ends: -delay, -jitter, then interfaces. A rule leads
// their packets into a tunnel device; what is written back to the device is routed on by the main table.
func Relay(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(RelayCommand, flag.ContinueOnError)
	delay := flags.Duration("delay", 0, "one way")
	jitter := flags.Duration("jitter", 0, "give or take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	tun, err := openTunnel(relayDev)
	if err != nil {
		return err
	}
	defer tun.Close()
	if err := lead(flags.Args()); err != nil {
		return err
	}
	line := newLine(*delay, *jitter, relayQueue)
	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, func() { tun.Close() }) // ends the blocking read
	g.Go(func() error { return line.take(ctx, tun) })
	g.Go(func() error { return line.give(ctx, tun) })
	if err := g.Wait(); err != nil && context.Cause(ctx) == nil {
		return err
	}
	return nil
}

func openTunnel(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make tunnel %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// lead sends what arrives on the devices into the tunnel. Without the tunnel the extra table is empty and packets take the main one.
func lead(devices []string) error {
	l, err := netlink.LinkByName(relayDev)
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.LinkSetTxQLen(l, 4000), netlink.LinkSetUp(l)); err != nil {
		return err
	}
	// What comes out of the tunnel has sources that the main table expects elsewhere.
	for _, dev := range []string{relayDev, "all"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+dev+"/rp_filter", []byte("0"), 0o644); err != nil {
			return err
		}
	}
	everything := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: everything, Table: relayTable}); err != nil {
		return fmt.Errorf("route into the tunnel: %w", err)
	}
	for i, dev := range devices {
		r := netlink.NewRule()
		r.IifName, r.Table, r.Priority = dev, relayTable, relayTable+i
		if err := netlink.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("rule for %s: %w", dev, err)
		}
	}
	return nil
}

// line is a bounded first-in first-out queue of packets with the time at which each may leave.
type line struct {
	delay, jitter time.Duration
	packets       chan packet

	mu   sync.Mutex // guards last
	last time.Time
}

type packet struct {
	due  time.Time
	data []byte
}

func newLine(delay, jitter time.Duration, length int) *line {
	return &line{delay: delay, jitter: jitter, packets: make(chan packet, length)}
}

// put queues a packet that arrives now, or loses it. It may not leave before the one in front of it.
func (l *line) put(now time.Time, data []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	due := now.Add(l.delay)
	if l.jitter > 0 {
		due = due.Add(rand.N(2*l.jitter) - l.jitter)
	}
	if due.Before(l.last) {
		due = l.last
	}
	select {
	case l.packets <- packet{due, data}:
		l.last = due
		return true
	default:
		return false
	}
}

func (l *line) take(ctx context.Context, from io.Reader) error {
	buf := make([]byte, 65536)
	for ctx.Err() == nil {
		n, err := from.Read(buf)
		if err != nil {
			return fmt.Errorf("read from the tunnel: %w", err)
		}
		l.put(time.Now(), append([]byte(nil), buf[:n]...))
	}
	return nil
}

func (l *line) give(ctx context.Context, to io.Writer) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-l.packets:
			if wait := time.Until(p.due); wait > 0 {
				timer.Reset(wait)
				select {
				case <-ctx.Done():
					return nil
				case <-timer.C:
				}
			}
			_, _ = to.Write(p.data) // a packet that the kernel refuses is a lost packet
		}
	}
}
