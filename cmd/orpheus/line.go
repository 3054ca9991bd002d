package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/orpheus-mesh/orpheus/node/sockets"
)

// line is the processes that a daemon is while connections of clients outlive its restarts. The last one is the daemon, those before it
// carry what they had and end with that. TLS sessions cannot move, so the processes must stay.
//
//	systemd ─┬─ first      started with NOTIFY_SOCKET, systemd is told which one is the daemon
//	         ├─ second     and is everybody's parent: it sees the last one end, and starts anew
//	         └─ third      while the others carry on
//
//	starter ─── first ─┬─ second      elsewhere the first one is what the starter knows: it stays to the end, passes on
//	                   └─ third       signals and ends as the last one does
type line struct {
	program
	kept    *sockets.Keeper
	manager string // where a service manager wants to be told which process is the daemon; "": there is none
	log     *slog.Logger
}

// notifyVariable is systemd's, see sd_notify(3).
const notifyVariable = "NOTIFY_SOCKET"

// takeManager takes it out of the environment: upstream's API server would say that it is ready long before the daemon is, and then forget it.
func takeManager() (address string) {
	address = os.Getenv(notifyVariable)
	_ = os.Unsetenv(notifyVariable) // fails for malformed names only
	return address
}

// environment is what the next image gets.
func (l line) environment() []string {
	if l.manager == "" {
		return os.Environ()
	}
	return append(os.Environ(), notifyVariable+"="+l.manager)
}

// remains is what an image that gave way still carries: see node.Left.
type remains interface {
	Active() int
	Wait(context.Context) (whole bool)
}

// notify tells the service manager, if there is one.
func (l line) notify(what string) {
	if l.manager == "" {
		return
	}
	c, err := net.Dial("unixgram", l.manager)
	if err == nil {
		defer c.Close()
		_, err = c.Write([]byte(what))
	}
	if err != nil {
		l.log.Error("the service manager does not hear of this", "news", what, "error", err)
	}
}

// face tells that this process is the first one, and that its end is the daemon's to whoever started it.
func (l line) face() bool { return l.manager == "" && len(l.kept.Elders()) == 0 }

// attend has a daemon that is to end take its elders along, and a face take the daemon along. A daemon that calls leave before it ends
// does not end before they were told.
func (l line) attend(ctx context.Context) (leave func()) {
	elders := l.kept.Elders()
	if len(elders) > 0 && l.manager == "" {
		go func() {
			if err := elders[0].Wait(); err != nil {
				l.log.Error("the process that this daemon was started by can't be watched", "error", err)
				return
			}
			l.log.Error("the process that this daemon was started by was killed: whoever watches over that takes the daemon for dead, so it ends")
			os.Exit(1)
		}()
	}
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		for _, e := range elders {
			if err := e.Signal(syscall.SIGTERM); err != nil {
				l.log.Error("an earlier process of this daemon can't be told to end", "error", err)
			}
		}
	})
	return sync.OnceFunc(func() {
		if !stop() {
			<-told
		}
	})
}

// follow becomes the image. It returns only when that failed.
func (l line) follow() error {
	signal.Ignore(syscall.SIGUSR2) // outlives the exec: it must not kill an image that does not listen to it yet
	return l.kept.Exec(l.path, l.argv, l.environment())
}

// settled is when the next image no longer needs every processor, for strangers wait for its start.
const settled = 10 * time.Second

// stay starts the image beside this process and returns when what is left here has ended, and for a face when the line has.
func (l line) stay(ctx context.Context, left remains) error {
	signal.Ignore(syscall.SIGUSR2) // as above
	face, as := l.face(), sockets.Sibling
	if face {
		as = sockets.Child
	}
	pid, err := l.kept.Start(l.path, l.argv, l.environment(), as)
	if err != nil {
		l.log.Error("connections are cut: the next image can't be started beside this process", "active", left.Active(), "error", err)
		return l.follow()
	}
	l.notify(fmt.Sprintf("MAINPID=%d", pid))
	l.log.Info("the next image is a process of its own, this one stays for its connections", "process", os.Getpid(), "next", pid, "active", left.Active())
	defer time.AfterFunc(settled, debug.FreeOSMemory).Stop()
	if !face {
		l.outlast(ctx, left)
		return nil
	}
	return l.stand(ctx, pid, left)
}

// outlast waits until what is left has ended.
func (l line) outlast(ctx context.Context, left remains) {
	if left.Wait(ctx) {
		l.log.Info("the last connection of an earlier image has ended", "process", os.Getpid())
	} else {
		l.log.Warn("connections that outlived a restart were cut: their time was over", "process", os.Getpid())
	}
}

// stand is the face of the line whose process group is given: it ends when that has. One that ends in order leaves connections the time
// to end as well.
func (l line) stand(ctx context.Context, group int, left remains) error {
	pass := make(chan os.Signal, 1)
	signal.Notify(pass, syscall.SIGUSR2)
	defer context.AfterFunc(ctx, func() { _ = syscall.Kill(-group, syscall.SIGTERM) })()
	go func() {
		for range pass {
			_ = syscall.Kill(-group, syscall.SIGUSR2) // to the last one; the others ignore it
		}
	}()
	ctx, over := context.WithCancel(ctx)
	defer over()
	carried := make(chan struct{})
	go func() {
		defer close(carried)
		l.outlast(ctx, left)
		debug.FreeOSMemory()
	}()
	if err := lastOf(); err != nil {
		l.log.Error("the daemon has ended", "error", err)
		return err
	}
	over()
	<-carried
	return nil
}

// ended is how the daemon ended, to be passed on as this process's own status.
type ended int

func (e ended) Error() string { return fmt.Sprintf("it ended with status %d", int(e)) }

// lastOf waits for all children. The first one that fails is the daemon, or as good as it.
func lastOf() error {
	for {
		var s syscall.WaitStatus
		_, err := syscall.Wait4(-1, &s, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return nil // none is left
		case s.Signaled():
			return ended(128 + int(s.Signal()))
		case s.ExitStatus() != 0:
			return ended(s.ExitStatus())
		}
	}
}
