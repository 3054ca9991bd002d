package sockets

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Variable names, for the next image, its process number, the descriptors of the sockets that it gets, that of the will and those of
// the elders: PID:FD,FD:FD:FD,FD. systemd's own variables cannot: their descriptors begin at 3, where the Go runtime has its
// poller, which is in use until the very end.
const Variable = "ORPHEUS_SOCKETS"

// unborn stands for the number of a process that is still to be started. It takes the variable out of its environment at once.
const unborn = 0

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
	estate, err := k.estate()
	if err != nil {
		return err
	}
	defer estate.will.Close()
	syscall.ForkLock.Lock() // no child that starts now may get them
	defer syscall.ForkLock.Unlock()
	closeOnExec()
	numbers, err := mark(estate.files(), 0)
	if err != nil {
		return err
	}
	err = syscall.Exec(path, argv, append(env, estate.variable(os.Getpid(), numbers)))
	_, _ = mark(estate.files(), unix.FD_CLOEXEC)
	return fmt.Errorf("become %s: %w", path, err)
}

// Kinship says whose child a process is that Start begins.
type Kinship int

const (
	// Child of this process, in a process group of its own, which those that it starts in turn as siblings share.
	Child Kinship = iota
	// Sibling: a child of this process's own parent, which watches over it as it does over this one.
	Sibling
)

// Start runs the program at path beside this process, which becomes an elder of it. It gets what Exec hands on. Then this
// process has no socket any more; when Start fails, nothing has changed.
func (k *Keeper) Start(path string, argv, env []string, as Kinship) (pid int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	estate, err := k.estate()
	if err != nil {
		return 0, err
	}
	defer estate.will.Close()
	self, err := elder(os.Getpid())
	if err != nil {
		return 0, fmt.Errorf("name this process to %s: %w", path, err)
	}
	defer self.file.Close()
	estate.elders = append(estate.elders, self)
	closeOnExec()
	numbers, err := mark(estate.files(), unix.FD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if as == Sibling {
		attr.Sys = &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT}
	}
	for i, n := range numbers {
		numbers[i] = len(attr.Files) // there
		attr.Files = append(attr.Files, uintptr(n))
	}
	attr.Env = append(env, estate.variable(unborn, numbers))
	if pid, err = syscall.ForkExec(path, argv, attr); err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	k.close()
	return pid, nil
}

// estate is what a next image gets.
type estate struct {
	kept   []kept
	will   *os.File
	elders []Elder
}

func (k *Keeper) estate() (estate, error) {
	will, err := remember(k.will)
	if err != nil {
		return estate{}, fmt.Errorf("hand on the will: %w", err)
	}
	return estate{k.kept, will, slices.DeleteFunc(slices.Clone(k.elders), Elder.ended)}, nil
}

// files are the descriptors, in the order of the variable.
func (e *estate) files() (all []*os.File) {
	for _, s := range e.kept {
		all = append(all, s.file)
	}
	all = append(all, e.will)
	for _, o := range e.elders {
		all = append(all, o.file)
	}
	return all
}

func (e *estate) variable(pid int, numbers []int) string {
	list := func(numbers []int) string {
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ","), "[]")
	}
	n := len(e.kept)
	return fmt.Sprintf("%s=%d:%s:%d:%s", Variable, pid, list(numbers[:n]), numbers[n], list(numbers[n+1:]))
}

// closeOnExec has no program that is started later inherit what is open now. Before Linux 5.11 it does nothing: what Go opens is
// marked anyway.
func closeOnExec() { _ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) }

// mark sets the flags of descriptors and tells their numbers. os.File.Fd would tell them too, but may make a socket blocking for all.
func mark(files []*os.File, flags int) (numbers []int, err error) {
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		var failed error
		err = raw.Control(func(fd uintptr) {
			numbers = append(numbers, int(fd))
			_, failed = unix.FcntlInt(fd, unix.F_SETFD, flags)
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, fmt.Errorf("hand on %s: %w", f.Name(), err)
		}
	}
	return numbers, nil
}

// Inherit takes over the sockets that an earlier image or the service manager left open for this process, and removes the
// variables that say so. Call it once, before anything else opens or passes on descriptors.
func Inherit() (*Keeper, error) {
	got, err := inherited(os.Getenv(Variable), os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	if err := os.Unsetenv(Variable); err != nil {
		return nil, err
	}
	k := &Keeper{}
	for _, f := range got.elders {
		k.elders = append(k.elders, Elder{f})
	}
	if got.will != nil {
		defer got.will.Close()
		if k.will, err = io.ReadAll(io.NewSectionReader(got.will, 0, mostWill)); err != nil {
			return nil, fmt.Errorf("read the will: %w", err)
		}
	}
	for _, f := range append(activation.Files(true), got.sockets...) {
		addr, packet, err := inspect(f)
		if err != nil {
			return nil, fmt.Errorf("take over the socket %s: %w", f.Name(), err)
		}
		k.kept = append(k.kept, kept{Address{packet, addr.String()}, f})
	}
	return k, nil
}

// bequest is the descriptors that a variable names.
type bequest struct {
	sockets []*os.File
	will    *os.File
	elders  []*os.File
}

// inherited reads a variable, if it is meant for this process and not for one above it.
func inherited(text string, pid int) (d bequest, err error) {
	parts := strings.Split(text, ":")
	if parts[0] != strconv.Itoa(pid) && parts[0] != strconv.Itoa(unborn) {
		return d, nil
	}
	if len(parts) < 2 { // more than four are of a later version: what it adds is not needed here
		return d, fmt.Errorf("%q is no list of descriptors", text)
	}
	take := func(part int) (files []*os.File) {
		if len(parts) <= part || parts[part] == "" {
			return nil
		}
		for s := range strings.SplitSeq(parts[part], ",") {
			fd, bad := strconv.Atoi(s)
			if bad != nil || fd < 3 {
				err = fmt.Errorf("%q is no list of descriptors", text)
				return nil
			}
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "descriptor "+s))
		}
		return files
	}
	d.sockets, d.elders = take(1), take(3)
	if wills := take(2); len(wills) > 0 {
		d.will = wills[0]
	}
	return d, err
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
