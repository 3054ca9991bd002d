package agent

import "time"

const (
	backoffFirst = 10 * time.Second
	backoffMost  = 5 * time.Minute
	backoffReset = 10 * time.Minute // a container that ran so long starts anew
)

// crashBackoff tells how long a container of the given level, which ran for so long, waits before it starts again, and the
// level of its next attempt. The first crash is forgiven at once; then 10 s, doubling to 5 min. The level travels in the
// container's label: a restart of the daemon forgets nothing.
func crashBackoff(level int, ran time.Duration) (wait time.Duration, next int) {
	if ran >= backoffReset {
		level = 0
	}
	return stepped(level), level + 1
}

// stepped is nothing at level 0, then 10 s doubling to 5 min.
func stepped(level int) time.Duration {
	if level <= 0 {
		return 0
	}
	if level > 6 {
		return backoffMost
	}
	return min(backoffFirst<<(level-1), backoffMost)
}
