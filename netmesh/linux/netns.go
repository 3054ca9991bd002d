package linux

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
)

// inNamespace runs f on a thread that has entered a network namespace, and returns the thread as it was.
func inNamespace(ns netns.NsHandle, f func() error) error {
	done := make(chan error, 1)
	go func() { // a goroutine of its own: should the way back fail, it ends locked and its thread is thrown away
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("open the present network namespace: %w", err)
			return
		}
		defer home.Close()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = f()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// setting is a kernel parameter below /proc/sys/net.
type setting struct{ name, value string }

// write sets parameters of the namespace that the calling thread is in, where they differ. A parameter that this kernel
// does not have is passed over when it is optional.
func (s setting) write() error {
	path := "/proc/sys/net/" + s.name
	have, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(have)) == s.value {
		return nil
	}
	if os.IsNotExist(err) && strings.HasPrefix(s.name, "ipv6/") {
		return nil // a host without IPv6
	}
	if err := os.WriteFile(path, []byte(s.value), 0o644); err != nil {
		return fmt.Errorf("set net/%s to %s: %w", s.name, s.value, err)
	}
	return nil
}
