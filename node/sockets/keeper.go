// Package sockets keeps the doors of a server open while its daemon gives way to a new image of itself. What strangers connect to
// (ingress, API, names) is opened through a Keeper, which holds a second descriptor of each. Exec hands those on, under the same
// process number, and Start to a process beside this one: connections and questions that come meanwhile wait in the kernel, and the
// next image answers them.
//
// Processes that stay behind what they started are the Elders of all that follow, which are told of them.
//
// A service manager that opens sockets beforehand (systemd's sd_listen_fds(3)) is taken for an earlier image.
package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
)

// Keeper holds sockets. Its zero value holds none. All methods are safe for concurrent use.
type Keeper struct {
	mu     sync.Mutex // guards what is below
	kept   []kept
	will   []byte
	elders []Elder
	shut   bool
}

// kept is one socket: a descriptor beside the one that a room uses, so that the room may close its own.
type kept struct {
	Address
	file *os.File
}

// Address of a socket: TCP, or UDP where Packet is set. An Addr of no IP (":53") is any address of the host.
type Address struct {
	Packet bool
	Addr   string // host:port
}

func (a Address) String() string {
	if a.Packet {
		return "udp " + a.Addr
	}
	return "tcp " + a.Addr
}

// fits tells that a socket is what want names. Any address is any address, be it of IPv4 or of both: a service manager's
// ListenStream=80 is of both. Port 0 wants a socket of its own.
func (a Address) fits(want Address) bool {
	have, err := netip.ParseAddrPort(a.Addr)
	if err != nil || a.Packet != want.Packet {
		return false
	}
	host, port, err := net.SplitHostPort(want.Addr)
	if err != nil || port == "0" || port != fmt.Sprint(have.Port()) {
		return false
	}
	if host == "" {
		return have.Addr().IsUnspecified()
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip == have.Addr().Unmap() || ip.IsUnspecified() && have.Addr().IsUnspecified())
}

// Len is how many sockets are held.
func (k *Keeper) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.kept)
}

// Retain closes the sockets that the configuration no longer wants, and names them.
func (k *Keeper) Retain(wanted ...Address) (closed []Address) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = slices.DeleteFunc(k.kept, func(s kept) bool {
		if slices.ContainsFunc(wanted, s.fits) {
			return false
		}
		s.file.Close()
		closed = append(closed, s.Address)
		return true
	})
	return closed
}

// Listen gives the socket of that address which is held, or opens one by lc and holds it. Closing the listener leaves the
// socket open: who connects then waits, until Close or the next Listen.
func (k *Keeper) Listen(ctx context.Context, lc *net.ListenConfig, network, address string) (net.Listener, error) {
	return open(k, Address{Addr: address}, net.FileListener, func() (net.Listener, error) { return lc.Listen(ctx, network, address) })
}

// ListenPacket does as Listen, for UDP.
func (k *Keeper) ListenPacket(ctx context.Context, lc *net.ListenConfig, network, address string) (net.PacketConn, error) {
	return open(k, Address{true, address}, net.FilePacketConn, func() (net.PacketConn, error) { return lc.ListenPacket(ctx, network, address) })
}

func open[T interface{ Close() error }](k *Keeper, want Address, from func(*os.File) (T, error), fresh func() (T, error)) (none T, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := slices.IndexFunc(k.kept, func(s kept) bool { return s.fits(want) }); i >= 0 {
		s, err := from(k.kept[i].file) // duplicates the descriptor
		if err != nil {
			return none, fmt.Errorf("take over %s: %w", want, err)
		}
		return s, nil
	}
	s, err := fresh()
	if err != nil || k.shut {
		return s, err
	}
	if err := k.hold(s, want.Packet); err != nil {
		_ = s.Close() // nobody has it yet
		return none, fmt.Errorf("hold %s: %w", want, err)
	}
	return s, nil
}

// hold keeps a second descriptor of a socket. File leaves the socket non-blocking as long as nobody calls Fd on it.
func (k *Keeper) hold(s any, packet bool) error {
	f, ok := s.(interface{ File() (*os.File, error) })
	if !ok {
		return errors.New("it is no socket of the host")
	}
	file, err := f.File()
	if err != nil {
		return err
	}
	addr, _, err := inspect(file)
	if err != nil {
		file.Close()
		return err
	}
	k.kept = append(k.kept, kept{Address{packet, addr.String()}, file})
	return nil
}

// Close lets go of all sockets, for good: whoever opens one later has it alone.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.close()
}

func (k *Keeper) close() {
	for _, s := range k.kept {
		s.file.Close()
	}
	k.kept, k.shut = nil, true
}
