package agent

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// host is what the machine can give, and why it cannot now. Its methods may be called from any goroutine.
type host struct {
	cfg      Config
	capacity v1.ResourceList
	left     v1.ResourceList

	mu  sync.Mutex // guards why
	why string     // the engine's trouble; "" when there is none
}

func newHost(cfg Config) *host {
	h := &host{cfg: cfg, why: "the engine has not answered yet"}
	h.capacity = v1.ResourceList{
		v1.ResourceCPU:              *resource.NewQuantity(int64(cpus()), resource.DecimalSI),
		v1.ResourceMemory:           *resource.NewQuantity(memoryTotal(), resource.BinarySI),
		v1.ResourceEphemeralStorage: *resource.NewQuantity(int64(disk(cfg.Dir).total), resource.BinarySI),
		v1.ResourcePods:             *resource.NewQuantity(cfg.MaxPods, resource.DecimalSI),
	}
	h.left = h.capacity.DeepCopy()
	for name, reserved := range cfg.Reserved {
		if q, ok := h.left[name]; ok {
			q.Sub(reserved)
			if q.Sign() < 0 {
				q = *resource.NewQuantity(0, q.Format)
			}
			h.left[name] = q
		}
	}
	return h
}

func (h *host) allocatable() v1.ResourceList { return h.left }

func (h *host) memory() int64 { return h.capacity.Memory().Value() }

func (h *host) trouble() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.why
}

func (h *host) setTrouble(why string) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed = (h.why == "") != (why == "")
	h.why = why
	return changed
}

// cpus is how many this machine has; a machine in a container's bounds has no more than its quota gives.
func cpus() int { return runtime.NumCPU() }

// memoryTotal is the machine's memory or the bound of our control group, whichever is less; bytes.
func memoryTotal() int64 {
	total := meminfo("MemTotal")
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < total {
			total = n
		}
	}
	return total
}

// meminfo is one line of the kernel's account of memory; bytes, 0 when unknown.
func meminfo(name string) int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name+":" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// space is a file system's account; bytes and inodes.
type space struct{ total, free, inodes, inodesFree uint64 }

func disk(path string) space {
	var st unix.Statfs_t
	for unix.Statfs(path, &st) != nil {
		if path == "/" || path == "." || path == "" {
			return space{}
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
		if path == "" {
			path = "/"
		}
	}
	block := uint64(st.Bsize)
	return space{total: st.Blocks * block, free: st.Bavail * block, inodes: st.Files, inodesFree: st.Ffree}
}

// tasks is how many processes and threads run, and how many may.
func tasks() (now, most int64) {
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(text)); len(f) >= 4 {
			_, total, _ := strings.Cut(f[3], "/")
			now, _ = strconv.ParseInt(total, 10, 64)
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/pid_max"); err == nil {
		most, _ = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	return now, most
}

// pressure is what runs short on the machine: text for the condition, "" for no pressure.
type pressure struct{ memory, disk, tasks string }

// Thresholds: the kubelet's defaults, but of the disk k3s's, for a tenth of a large disk is a lot to leave unused.
const (
	memoryLeast       = 100 << 20 // bytes available
	diskLeastPercent  = 5
	inodeLeastPercent = 5
	tasksMostPercent  = 90
)

func pressureNow(dir string) (p pressure) {
	if free := meminfo("MemAvailable"); free > 0 && free < memoryLeast {
		p.memory = "only " + strconv.FormatInt(free>>20, 10) + " MiB of memory are available"
	}
	d := disk(dir)
	switch {
	case d.total > 0 && d.free*100 < d.total*diskLeastPercent:
		p.disk = "only " + strconv.FormatUint(d.free>>20, 10) + " MiB are free on the disk of " + dir
	case d.inodes > 0 && d.inodesFree*100 < d.inodes*inodeLeastPercent:
		p.disk = "only " + strconv.FormatUint(d.inodesFree, 10) + " inodes are free on the disk of " + dir
	}
	if now, most := tasks(); most > 0 && now*100 > most*tasksMostPercent {
		p.tasks = strconv.FormatInt(now, 10) + " of " + strconv.FormatInt(most, 10) + " possible processes run"
	}
	return p
}
