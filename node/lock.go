package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dying is how long a daemon that was killed may take to be gone.
const dying = 2 * time.Second

// lockDir makes the directory and keeps a second daemon out of it for as long as this one lives.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dying)
	defer cancel()
	for unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-ctx.Done():
		}
		f.Close()
		return nil, fmt.Errorf("data-dir: %s is in use by another orpheus daemon: stop it or choose another directory", dir)
	}
	return func() { f.Close() }, nil
}
