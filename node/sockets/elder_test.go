package sockets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stays plays the processes of one line; the last one tells the client that waits what it found.
func stays(role string) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	k, err := Inherit()
	if err != nil {
		return err
	}
	env := func(role string, more ...string) []string {
		kept := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SOCKETS_TEST=") })
		return append(append(kept, "SOCKETS_TEST="+role), more...)
	}
	elders := k.Elders()
	switch role {
	case "stays":
		l, err := k.Listen(context.Background(), &net.ListenConfig{}, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		l.Close()
		if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil { // as a library would that knows no close-on-exec
			return err
		}
		if _, err := k.Start("/nonexistent", []string{"x"}, nil, Child); err == nil || k.Len() != 1 {
			return fmt.Errorf("%w, and %d sockets are left", err, k.Len())
		}
		k.Bequeath([]byte("remember me"))
		fmt.Println(l.Addr())
		if _, err := fmt.Scanln(); err != nil {
			return err
		}
		if _, err := k.Start("/proc/self/exe", os.Args, env("heir", "SOCKETS_TCP="+l.Addr().String(), fmt.Sprintf("SOCKETS_STAYS=%d", os.Getpid())), Child); err != nil || k.Len() != 0 {
			return fmt.Errorf("%w, and %d sockets are left", err, k.Len())
		}
		<-told
		return nil
	case "heir":
		k.Bequeath(k.Will())
		if len(elders) != 1 || os.Getpid() != unix.Getpgrp() {
			return fmt.Errorf("%d elders, group %d", len(elders), unix.Getpgrp())
		}
		_, err := k.Start("/proc/self/exe", os.Args, env("last", fmt.Sprintf("SOCKETS_GROUP=%d", unix.Getpgrp())), Sibling)
		return err
	}
	names, err := descriptors()
	if err != nil {
		return err
	}
	if len(elders) == 2 { // what ended is no elder of the next image
		if err := elders[1].Wait(); err != nil {
			return err
		}
		k.Bequeath(k.Will())
		return k.Exec("/proc/self/exe", os.Args, env("last"))
	}
	c, err := accept(k)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(c, "will %q, %d socket, child of %d in %d, /dev/null: %v\n", k.Will(), k.Len(), os.Getppid(), unix.Getpgrp(), strings.Contains(names, "/dev/null"))
	err = errors.Join(elders[0].Signal(syscall.SIGTERM), elders[0].Wait(), elders[0].Signal(syscall.SIGTERM)) // twice: nobody is hurt
	fmt.Fprintf(c, "%s %s, %d elder: %v\n", os.Getenv("SOCKETS_STAYS"), os.Getenv("SOCKETS_GROUP"), len(elders), err)
	return nil
}

func accept(k *Keeper) (net.Conn, error) {
	l, err := k.Listen(context.Background(), &net.ListenConfig{}, "tcp", os.Getenv("SOCKETS_TCP"))
	if err != nil {
		return nil, err
	}
	return l.Accept()
}

func TestAProcessThatStaysIsAnElderOfAllThatFollow(t *testing.T) {
	cmd, in, said := began(t, "stays")
	addr, _ := said.ReadString('\n')
	waiting, err := net.Dial("tcp", strings.TrimSpace(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	_ = waiting.SetDeadline(time.Now().Add(soon))
	fmt.Fprintln(in)
	answer, err := io.ReadAll(waiting)
	found, last, _ := strings.Cut(string(answer), "\n")
	var stays, group int
	_, _ = fmt.Sscan(last, &stays, &group)
	if want := fmt.Sprintf("will \"remember me\", 1 socket, child of %d in %d, /dev/null: false", stays, group); found != want || err != nil {
		t.Errorf("%s, %v; want %s", found, err, want)
	}
	if want := fmt.Sprintf("%d %d, 1 elder: <nil>\n", cmd.Process.Pid, group); last != want {
		t.Errorf("%q, want %q", last, want)
	}
	rest, _ := io.ReadAll(said)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, rest)
	}
}
