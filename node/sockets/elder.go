package sockets

import (
	"errors"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Elder is a process that started its successor and stayed, and which may have ended meanwhile. A descriptor stands for it, as
// numbers are given out again.
type Elder struct{ file *os.File }

func elder(pid int) (Elder, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return Elder{}, os.NewSyscallError("pidfd_open", err)
	}
	return Elder{os.NewFile(uintptr(fd), "process")}, nil
}

// Elders are those before this process, the first one first. They that ended are left out when the next image is told of them.
func (k *Keeper) Elders() []Elder {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.elders)
}

// Signal sends a signal. One who has ended is beyond it.
func (e Elder) Signal(s syscall.Signal) error {
	raw, err := e.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.PidfdSendSignal(int(fd), s, nil, 0) }); err != nil {
		return err
	}
	if failed == unix.ESRCH {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", failed)
}

// Wait blocks a thread until the process has ended.
func (e Elder) Wait() error {
	_, err := e.poll(-1)
	return err
}

func (e Elder) ended() bool {
	over, _ := e.poll(0) // one that nothing is known of is handed on
	return over
}

// poll waits so many milliseconds for the end; -1: for as long as it takes.
func (e Elder) poll(within int) (over bool, err error) {
	raw, err := e.file.SyscallConn()
	if err != nil {
		return false, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, within)
		for err == unix.EINTR {
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, within)
		}
		over, failed = n > 0, os.NewSyscallError("poll", err)
	})
	return over, errors.Join(err, failed)
}
