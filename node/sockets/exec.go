package sockets

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Variable names, for the next image, its process number, the descriptors of the sockets that it gets, and that of the will:
// PID:FD,FD:FD. systemd's own variables cannot: their descriptors begin at 3, where the Go runtime has its poller, which is in
// use until the very end.
const Variable = "ORPHEUS_SOCKETS"

// Bequeath leaves data to the next image. They are handed on in memory and touch no disk.
func (k *Keeper) Bequeath(data []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.will = data
}

// Will is what the image before bequeathed, nil when there was none, once.
func (k *Keeper) Will() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { k.will = nil }()
	return k.will
}

// mostWill bounds the will.
const mostWill = 64 << 20

// remember writes the will into memory that has a descriptor.
func remember(will []byte) (*os.File, error) {
	if len(will) > mostWill {
		return nil, fmt.Errorf("%d bytes are too much", len(will))
	}
	fd, err := unix.MemfdCreate("orpheus-will", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "will")
	if _, err := f.WriteAt(will, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Exec replaces this process by the program at path, which gets the sockets, the standard streams and no other descriptor. It returns only
// when that failed; nothing has changed then. The caller has stopped whatever must end in order.
func (k *Keeper) Exec(path string, argv, env []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	will, err := remember(k.will)
	if err != nil {
		return fmt.Errorf("hand on the will: %w", err)
	}
	defer will.Close()
	syscall.ForkLock.Lock() // no child that starts now may get them
	defer syscall.ForkLock.Unlock()
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // before Linux 5.11: what Go opens is marked anyway
	var list []string
	for _, s := range k.kept {
		fd, err := mark(s.file, 0)
		if err != nil {
			return fmt.Errorf("hand on %s: %w", s.Address, err)
		}
		list = append(list, strconv.Itoa(fd))
	}
	last, err := mark(will, 0)
	if err != nil {
		return fmt.Errorf("hand on the will: %w", err)
	}
	env = append(env, fmt.Sprintf("%s=%d:%s:%d", Variable, os.Getpid(), strings.Join(list, ","), last))
	err = syscall.Exec(path, argv, env)
	for _, s := range k.kept {
		_, _ = mark(s.file, unix.FD_CLOEXEC)
	}
	return fmt.Errorf("become %s: %w", path, err)
}

// mark sets a descriptor's flags and tells its number. os.File.Fd would tell it too, but may make the socket blocking for all.
func mark(f *os.File, flags int) (number int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		number = int(fd)
		_, failed = unix.FcntlInt(fd, unix.F_SETFD, flags)
	})
	return number, errors.Join(err, failed)
}

// Inherit takes over the sockets that an earlier image or the service manager left open for this process, and removes the
// variables that say so. Call it once, before anything else opens or passes on descriptors.
func Inherit() (*Keeper, error) {
	own, will, err := inherited(os.Getenv(Variable), os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	if err := os.Unsetenv(Variable); err != nil {
		return nil, err
	}
	k := &Keeper{}
	if will != nil {
		defer will.Close()
		if k.will, err = io.ReadAll(io.NewSectionReader(will, 0, mostWill)); err != nil {
			return nil, fmt.Errorf("read the will: %w", err)
		}
	}
	for _, f := range append(activation.Files(true), own...) {
		addr, packet, err := inspect(f)
		if err != nil {
			return nil, fmt.Errorf("take over the socket %s: %w", f.Name(), err)
		}
		k.kept = append(k.kept, kept{Address{packet, addr.String()}, f})
	}
	return k, nil
}

// inherited are the descriptors that a variable's text names, if it is meant for this process and not for one above it.
func inherited(text string, pid int) (files []*os.File, will *os.File, err error) {
	parts := strings.Split(text, ":")
	if parts[0] != strconv.Itoa(pid) {
		return nil, nil, nil
	}
	if len(parts) < 2 { // more than three are of a later version: what it adds is not needed here
		return nil, nil, fmt.Errorf("%q is no list of descriptors", text)
	}
	take := func(s string) *os.File {
		fd, bad := strconv.Atoi(s)
		if bad != nil || fd < 3 {
			err = fmt.Errorf("%q is no list of descriptors", text)
			return nil
		}
		unix.CloseOnExec(fd)
		return os.NewFile(uintptr(fd), "descriptor "+s)
	}
	for s := range strings.SplitSeq(parts[1], ",") {
		if parts[1] != "" {
			files = append(files, take(s))
		}
	}
	if len(parts) > 2 {
		will = take(parts[2])
	}
	return files, will, err
}

// inspect tells what a socket is bound to. It must be a listening one of TCP, or one of UDP.
func inspect(f *os.File) (addr netip.AddrPort, packet bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return addr, false, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { addr, packet, failed = bound(int(fd)) })
	return addr, packet, errors.Join(err, failed)
}

func bound(fd int) (addr netip.AddrPort, packet bool, err error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return addr, false, err
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return addr, false, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return addr, false, err
	}
	packet = kind == unix.SOCK_DGRAM
	if !packet && listens == 0 {
		return addr, false, errors.New("it is neither a listening TCP socket nor one of UDP")
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), packet, nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)), packet, nil
	}
	return addr, false, errors.New("it is no socket of the Internet protocol")
}
