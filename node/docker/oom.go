package docker

import (
	"os"
	"strconv"
	"strings"
)

// capSysResource is the number of CAP_SYS_RESOURCE, without which nobody may lower an oom_score_adj (capabilities(7)).
const capSysResource = 24

// oomFloor is the lowest oom_score_adj that containers can be given on this host: the daemon's own where the host denies
// CAP_SYS_RESOURCE, as nested and hardened hosts do. The runtime refuses to start a container with less.
func oomFloor() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return -1000
	}
	for line := range strings.Lines(string(status)) {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil || set&(1<<capSysResource) != 0 {
			return -1000
		}
	}
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(own)))
	return n
}
