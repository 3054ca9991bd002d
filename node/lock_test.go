package node

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A daemon that was killed may hold its directory while the kernel takes it down and the next one is started already.
func TestALockIsWaitedForButNotForLong(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockDir(impatient, dir); err == nil || !strings.Contains(err.Error(), "another orpheus daemon") {
		t.Errorf("a second daemon: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, unlock)
	again, err := lockDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
