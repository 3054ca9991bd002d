package bed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const netnsDir = "/run/netns"

func netnsPath(name string) string { return filepath.Join(netnsDir, name) }

// ensureNamespace makes a named network namespace with a loopback that is up. A file that a crash left without a
// namespace behind it is replaced.
func ensureNamespace(name string) error {
	if isNamespace(netnsPath(name)) {
		return nil
	}
	if err := removeNamespace(name); err != nil {
		return err
	}
	if err := run("ip", "netns", "add", name); err != nil {
		return fmt.Errorf("make namespace %s: %w", name, err)
	}
	return inside(name, func(h *netlink.Handle) error { return up(h, "lo") })
}

// isNamespace tells a bound namespace from the empty file that is made before it is bound.
func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

func removeNamespace(name string) error { return unbind(netnsPath(name)) }

// unbind unmounts and removes the file that holds a namespace; absent is fine.
func unbind(path string) error {
	for isNamespace(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// inside calls f with a netlink socket of the namespace.
func inside(name string, f func(h *netlink.Handle) error) error {
	ns, err := netns.GetFromPath(netnsPath(name))
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", name, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink in namespace %s: %w", name, err)
	}
	defer h.Close()
	if err := f(h); err != nil {
		return fmt.Errorf("in namespace %s: %w", name, err)
	}
	return nil
}

// within runs f on a thread that lives in the namespace. The thread is not given back: it ends with f, so that no other
// goroutine can ever wake up in a foreign namespace.
func within(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.GetFromPath(netnsPath(name))
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err != nil {
			done <- fmt.Errorf("enter namespace %s: %w", name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// sysctl sets network settings of a namespace, keys relative to /proc/sys/net.
func sysctl(name string, settings map[string]string) error {
	return within(name, func() error {
		for key, value := range settings {
			if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0o644); err != nil {
				return fmt.Errorf("set %s in %s: %w", key, name, err)
			}
		}
		return nil
	})
}

// ensureHostname makes a uts namespace bound to path that carries the name.
func ensureHostname(path, name string) error {
	if isNamespace(path) {
		return nil
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return run("unshare", "--uts="+path, "hostname", name)
}
