package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-mesh/orpheus/node/sockets"
)

// TestMain is also the processes of a line.
func TestMain(m *testing.M) {
	if os.Getenv("LINE_TEST") == "" {
		os.Exit(m.Run())
	}
	err := inLine()
	status := ended(0)
	if err != nil && !errors.As(err, &status) {
		fmt.Println("failed:", err)
		status = 99
	}
	os.Exit(int(status))
}

// carried is what the first process has left: until its end, or nothing any more.
type carried string

func (c carried) Active() int { return 1 }

func (c carried) Wait(ctx context.Context) bool {
	if c == "much" {
		<-ctx.Done()
	}
	fmt.Println("carried")
	return true
}

// inLine is a first process that stays behind a second one, which does as it is told.
func inLine() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	kept, err := sockets.Inherit()
	if err != nil {
		return err
	}
	l := line{program{"/proc/self/exe", os.Args}, kept, takeManager(), slog.New(slog.DiscardHandler)}
	defer l.attend(ctx)()
	if len(kept.Elders()) == 0 {
		return l.stay(ctx, carried(os.Getenv("LINE_TEST")))
	}
	restarts := make(chan os.Signal, 1)
	signal.Notify(restarts, syscall.SIGUSR2)
	fmt.Println("next", os.Getpid(), os.Getppid())
	go func() {
		<-restarts
		fmt.Println("restart")
	}()
	orders := make(chan int)
	go func() {
		var status int
		if _, err := fmt.Scan(&status); err == nil {
			orders <- status
		}
	}()
	select {
	case status := <-orders:
		return ended(status)
	case <-ctx.Done():
		fmt.Println("told to end")
		return nil
	}
}

const soon = 20 * time.Second // for what must happen; never waited for in full

// lined is a line of two that runs.
type lined struct {
	t            *testing.T
	first        *exec.Cmd
	said         *bufio.Reader
	in           io.Writer
	next, parent int
}

func startLine(t *testing.T, carries string, env ...string) *lined {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	l := &lined{t: t, first: exec.CommandContext(ctx, "/proc/self/exe")}
	l.first.Env = append(append(os.Environ(), "LINE_TEST="+carries), env...)
	out, mine, err := os.Pipe() // Wait must not wait for the second one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	_ = out.SetReadDeadline(time.Now().Add(soon))
	l.first.Stdout, l.first.Stderr, l.said = mine, mine, bufio.NewReader(out)
	if l.in, err = l.first.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.first.Start(); err != nil {
		t.Fatal(err)
	}
	mine.Close()
	if _, err := fmt.Sscanf(l.hears("next"), "next %d %d", &l.next, &l.parent); err != nil {
		t.Fatal(err)
	}
	return l
}

// hears reads on until a line begins so. "": until nobody is left who could say anything.
func (l *lined) hears(what string) string {
	l.t.Helper()
	var all string
	for {
		line, err := l.said.ReadString('\n')
		all += line
		switch {
		case err == io.EOF && what == "":
			return all
		case err != nil:
			l.t.Fatalf("%q was not heard but %q: %v", what, all, err)
		case what != "" && strings.HasPrefix(line, what):
			return line
		}
	}
}

func (l *lined) ends(status int) {
	l.t.Helper()
	_ = l.first.Wait()
	if got := l.first.ProcessState.ExitCode(); got != status {
		l.t.Errorf("the first process ended with %d, want %d", got, status)
	}
}

func TestTheFirstProcessStandsForTheLastOne(t *testing.T) {
	l := startLine(t, "nothing")
	if l.parent != l.first.Process.Pid {
		t.Errorf("the second is a child of %d, want %d", l.parent, l.first.Process.Pid)
	}
	if err := l.first.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	l.hears("restart")
	fmt.Fprintln(l.in, 3)
	l.ends(3)
}

func TestWhoEndsTheFirstProcessEndsTheLine(t *testing.T) {
	l := startLine(t, "much")
	if err := l.first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if said := l.hears(""); !strings.Contains(said, "told to end") || !strings.Contains(said, "carried") {
		t.Errorf("they said %q", said)
	}
	l.ends(0)
}

func TestWhoKillsTheFirstProcessKillsTheLine(t *testing.T) {
	l := startLine(t, "much")
	if err := l.first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	l.hears("") // the second one has ended
}

func TestAServiceManagerIsToldWhoTheDaemonIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	_ = manager.SetReadDeadline(time.Now().Add(soon))
	for _, carries := range []string{"nothing", "much"} {
		l := startLine(t, carries, "NOTIFY_SOCKET="+path)
		news := make([]byte, 100)
		n, err := manager.Read(news)
		if want := fmt.Sprintf("MAINPID=%d", l.next); err != nil || string(news[:n]) != want {
			t.Errorf("it was told %q, want %q: %v", news[:n], want, err)
		}
		if l.parent != os.Getpid() {
			t.Errorf("the daemon is a child of %d: the manager, %d, does not learn of its end", l.parent, os.Getpid())
		}
		if carries == "nothing" {
			l.ends(0) // the daemon runs on
		}
		if err := syscall.Kill(l.next, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		l.hears("told to end")
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(l.next, &status, 0, nil); err != nil || status != 0 {
			t.Errorf("it ended with %d: %v", status, err)
		}
		if carries == "much" { // it was told by the daemon
			l.ends(0)
		}
	}
}
